// Loaded into an agent before anything else (NODE_OPTIONS=--require): on SIGUSR2 what keeps its event loop busy, by kind and
// number, goes to $TIMERS_PROBE as one JSON line.
const { isMainThread } = require('node:worker_threads');
const { appendFileSync } = require('node:fs');
const file = process.env.TIMERS_PROBE;
if (isMainThread && file && process.argv.includes('join')) {
  process.on('SIGUSR2', () => {
    const counts = {};
    for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
    appendFileSync(file, `${JSON.stringify(counts)}\n`);
  });
}
