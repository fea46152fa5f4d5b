"""Traces of tasks by OpenTelemetry, with the extra ``otel``. Imported only if traces are configured."""
