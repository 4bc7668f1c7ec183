// Loaded into an agent before anything else (NODE_OPTIONS=--require): how much CPU one turn of its event loop takes, and
// how late its timers are, also without what its own turns took (`waitMs`: what the kernel made it wait). A timer of 5 ms
// reads the CPU time of the main thread from the kernel; what was spent since the last time it ran is the most that one
// turn can have had (a few short turns may be in it). On SIGUSR2 the worst since the last SIGUSR2 goes to $TURN_PROBE, one
// JSON line.
const { isMainThread } = require('node:worker_threads');
const { appendFileSync, openSync, readSync } = require('node:fs');
const file = process.env.TURN_PROBE;
if (isMainThread && file && process.argv.includes('join')) {
  const everyMs = 5;
  // By one buffer: what the probe leaves to be collected would be counted as the agent's memory.
  const handle = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
  const bytes = Buffer.alloc(128);
  const cpuMs = () => {
    readSync(handle, bytes, 0, bytes.length, 0);
    let ns = 0;
    for (let at = 0; bytes[at] >= 48; at++) ns = ns * 10 + bytes[at] - 48;
    return ns / 1e6;
  };
  let lastCpu = cpuMs();
  let lastAt = performance.now();
  let worstCpu = 0;
  let late = [];
  let waited = [];
  setInterval(() => {
    const [cpu, at] = [cpuMs(), performance.now()];
    worstCpu = Math.max(worstCpu, cpu - lastCpu);
    late.push(Math.max(0, at - lastAt - everyMs));
    waited.push(Math.max(0, at - lastAt - everyMs - (cpu - lastCpu)));
    if (late.length > 100_000) [late, waited] = [late.slice(50_000), waited.slice(50_000)];
    [lastCpu, lastAt] = [cpu, at];
  }, everyMs).unref();
  process.on('SIGUSR2', () => {
    const p99 = (values) => values.sort((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? 0;
    const line = { cpuMs: worstCpu, lateMs: p99(late), waitMs: p99(waited), ticks: late.length };
    appendFileSync(file, `${JSON.stringify(line)}\n`);
    [worstCpu, late, waited] = [0, [], []];
  });
}
