// npm test: every part in turn, and the minutes that each took beside what it may take. Ends at the first part that fails.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const vitest = (project) => ['npx', 'vitest', 'run', '--config', 'test/vitest.config.ts', '--project', project];
/** Name, command, minutes that it may take on a quiet machine of two cores; null: not counted. */
const parts = [
  ['prepare', [process.execPath, 'test/prepare.mjs'], null],
  ['types', ['npm', 'run', '--silent', 'types'], null],
  ['lint', ['npm', 'run', '--silent', 'lint'], null],
  ['build', ['npm', 'run', '--silent', 'build'], null],
  ['unit', vitest('unit'), 2],
  ['sim', vitest('sim'), 8],
  ['real', vitest('real'), 8],
  ['root', vitest('root'), 12],
  ['e2e', vitest('e2e*'), 10],
];

const lines = [];
let code = 0;
for (const [name, [file, ...args], limit] of parts) {
  const began = performance.now();
  const { status } = spawnSync(file, args, { cwd: root, stdio: 'inherit' });
  const minutes = (performance.now() - began) / 60_000;
  code = status ?? 1;
  if (limit !== null || code !== 0) {
    const over = limit !== null && minutes > limit ? '  over its time' : '';
    lines.push(
      `${name.padEnd(8)}${minutes.toFixed(1).padStart(5)} min${limit === null ? '' : ` of ${limit}`}${over}${code === 0 ? '' : '  FAILED'}`,
    );
  }
  if (code !== 0) break;
}
console.log(`\ntest: minutes of each part\n${lines.join('\n')}`);
process.exit(code);
