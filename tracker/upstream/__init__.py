"""The one outbound door to the upstreams: who may be asked now, how, and what is certain when it fails."""
