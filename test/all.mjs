// npm test: every part in turn, and the minutes that each took beside what it may take. Ends at the first part that fails.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const vitest = (project) => ['npx', 'vitest', 'run', '--config', 'test/vitest.config.ts', '--project', project];
/** Name, minutes that it may take on a quiet machine of two cores (null: not counted), commands that run at the same time. */
const parts = [
  ['prepare', null, [process.execPath, 'test/prepare.mjs']],
  ['types', null, ['npm', 'run', '--silent', 'types']],
  ['lint', null, ['npm', 'run', '--silent', 'lint']],
  ['build', null, ['npm', 'run', '--silent', 'build']],
  ['unit', 2, vitest('unit')],
  ['sim', 8, vitest('sim')],
  ['real', 8, vitest('real')],
  ['browser', 3, vitest('browser')],
  ['root', 12, vitest('root'), vitest('root-jobs'), vitest('root-beside')],
  ['e2e', 10, vitest('e2e'), vitest('e2e-beside')],
];

/** Where test/second-try.ts writes. */
const notes = mkdtempSync(join(tmpdir(), 'autogit-test-'));
const secondTries = join(notes, 'second-tries');
const env = { ...process.env, AUTOGIT_SECOND_TRIES: secondTries };

/** What the first prints is seen at once, what the others print when they have ended. */
const run = ([file, ...args], isFirst) =>
  new Promise((resolve) => {
    const child = spawn(file, args, { cwd: root, env, stdio: isFirst ? 'inherit' : ['ignore', 'pipe', 'pipe'] });
    const printed = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (piece) => printed.push(piece));
    child.once('error', (error) => printed.push(Buffer.from(`${file}: ${error.message}\n`)));
    child.once('close', (code) => resolve({ code: code ?? 1, text: Buffer.concat(printed) }));
  });

const lines = [];
let code = 0;
for (const [name, limit, ...commands] of parts) {
  const began = performance.now();
  const ended = await Promise.all(commands.map((command, index) => run(command, index === 0)));
  const minutes = (performance.now() - began) / 60_000;
  for (const { text } of ended) process.stdout.write(text);
  code = ended.find((one) => one.code !== 0)?.code ?? 0;
  if (limit !== null || code !== 0) {
    const over = limit !== null && minutes > limit ? '  over its time' : '';
    lines.push(
      `${name.padEnd(8)}${minutes.toFixed(1).padStart(5)} min${limit === null ? '' : ` of ${limit}`}${over}${code === 0 ? '' : '  FAILED'}`,
    );
  }
  if (code !== 0) break;
}
console.log(`\ntest: minutes of each part\n${lines.join('\n')}`);
if (existsSync(secondTries))
  console.log(
    `\ntest: passed at the second try only, each a fault of the test or of the product\n${readFileSync(secondTries, 'utf8')}`,
  );
rmSync(notes, { recursive: true });
process.exit(code);
