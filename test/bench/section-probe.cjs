// Loaded into an agent before its own code: when each section of a job's trace began and ended. The trace itself has whole seconds.
const fs = require('node:fs');

const { SECTION_PROBE: file } = process.env;
const mostBytes = 4096;
if (file !== undefined) {
  const { writeSync, appendFileSync } = fs;
  fs.writeSync = (descriptor, bytes, ...more) => {
    if (bytes.length <= mostBytes)
      for (const [, what, name] of String(bytes).matchAll(/section_(start|end):\d+:(\w+)/g))
        appendFileSync(file, `${JSON.stringify({ what, name, at: performance.timeOrigin + performance.now() })}\n`);
    return writeSync(descriptor, bytes, ...more);
  };
}
