-- Sends each request of a file once, in order, then ends the run: its duration is exact and nothing is repeated.
-- The file holds complete HTTP requests, each after its length as four bytes, big-endian.

local ffi = require("ffi")
ffi.cdef("int kill(int pid, int signal); int getpid(void);")

local INTERRUPT = 2
local requests, sent = {}, 0

function init(arguments)
    local file = assert(io.open(arguments[1], "rb"))
    local content = file:read("*a")
    file:close()
    local at = 1
    while at <= #content do
        local a, b, c, d = content:byte(at, at + 3)
        local length = ((a * 256 + b) * 256 + c) * 256 + d
        requests[#requests + 1] = content:sub(at + 4, at + 3 + length)
        at = at + 4 + length
    end
end

function request()
    sent = sent + 1
    if sent > #requests then
        wrk.thread:stop()
        ffi.C.kill(ffi.C.getpid(), INTERRUPT) -- else wrk waits for the end of the duration that it was given
        return "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" -- wrk sends one more before it stops
    end
    return requests[sent]
end

function done(summary, latency)
    local errors = summary.errors
    print(string.format(
        'RESULT {"count": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "worst_ms": %.3f, "failed": %d}',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        latency.max / 1e3, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
