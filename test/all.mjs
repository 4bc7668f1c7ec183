// npm test: every part in turn, or those that are named (npm test -- root e2e), and the minutes that each took beside what it
// may take. Ends at the first part that is red.
// In CI, where one red test of thousands throws away the work of a session, the files that a clock, a disk, a program or a
// socket made red are tried once more, alone on the machine; what passed only then is told at the end, and is a fault to mend.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const vitest = (project, ...files) => [
  ...['npx', 'vitest', 'run', '--config', 'test/vitest.config.ts', '--project', project],
  ...files,
];
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
const named = process.argv.slice(2);
const unknown = named.find((name) => !parts.some(([part]) => part === name));
if (unknown !== undefined) {
  console.error(`npm test: no part is called ${unknown}; there are: ${parts.map(([part]) => part).join(', ')}`);
  process.exit(2);
}
/** Nothing but the seed decides these, so the first red is red. */
const decidedBySeed = ['sim'];
/** More red files than this are no accident. */
const filesTriedAgain = 6;

/** Of a part that took longer than it may, so many of its slowest files are told. */
const slowestTold = 6;

const notes = mkdtempSync(join(tmpdir(), 'autogit-test-'));

/**
 * What the first prints is seen at once, what the others print when they have ended.
 * Answers the exit status, and by test/run-notes.ts what was red ({project, file, test, error} each) and each file's time ({project, file, ms}).
 */
const runAll = async (commands) => {
  const runNotes = join(notes, 'run-notes');
  rmSync(runNotes, { force: true });
  const env = { ...process.env, AUTOGIT_RUN_NOTES: runNotes };
  const run = ([file, ...args], isFirst) =>
    new Promise((resolve) => {
      const child = spawn(file, args, { cwd: root, env, stdio: isFirst ? 'inherit' : ['ignore', 'pipe', 'pipe'] });
      const printed = [];
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (piece) => printed.push(piece));
      child.once('error', (error) => printed.push(Buffer.from(`${file}: ${error.message}\n`)));
      child.once('close', (code) => resolve({ code: code ?? 1, text: Buffer.concat(printed) }));
    });
  const ended = await Promise.all(commands.map((command, index) => run(command, index === 0)));
  for (const { text } of ended) process.stdout.write(text);
  const noted = existsSync(runNotes) ? readFileSync(runNotes, 'utf8').trim().split('\n') : [];
  const files = noted.map((line) => JSON.parse(line));
  const red = files.flatMap(({ project, file, red }) => red.map((one) => ({ project, file, ...one })));
  return { code: ended.find((one) => one.code !== 0)?.code ?? 0, red, files };
};

/** The red files of a part once more, one after the other, nothing beside them. */
const tryAgain = async (red) => {
  const files = new Map(red.map(({ project, file }) => [`${project} ${file}`, [project, file]]));
  if (files.size === 0 || files.size > filesTriedAgain) return null;
  for (const [project, file] of files.values()) {
    console.log(`\ntest: ${file} was red; once more, alone`);
    const again = await runAll([vitest(project, file)]);
    if (again.code !== 0) return again;
  }
  return { code: 0, red: [], files: [] };
};

const tell = (title, red) => {
  if (red.length === 0) return;
  console.log(`\n${title}`);
  for (const { file, test, error } of red) console.log(`  ${file} > ${test}\n    ${error}`);
};

/** Those of one project follow each other, those of several run beside each other. */
const slowest = (files) =>
  [...files]
    .sort((one, other) => other.ms - one.ms)
    .slice(0, slowestTold)
    .map(({ project, file, ms }) => `${(ms / 60_000).toFixed(1).padStart(15)} min  ${project}  ${file}`);

const lines = [];
const passedLater = [];
let ended = { code: 0, red: [], files: [] };
for (const [name, limit, ...commands] of parts) {
  if (named.length > 0 && !named.includes(name)) continue;
  const began = performance.now();
  ended = await runAll(commands);
  const { files } = ended;
  if (ended.code !== 0 && process.env.CI && !decidedBySeed.includes(name)) {
    const again = await tryAgain(ended.red);
    if (again?.code === 0) passedLater.push(...ended.red);
    ended = again ?? ended;
  }
  const minutes = (performance.now() - began) / 60_000;
  if (limit !== null || ended.code !== 0) {
    const over = limit !== null && minutes > limit ? '  over its time' : '';
    lines.push(
      `${name.padEnd(8)}${minutes.toFixed(1).padStart(5)} min${limit === null ? '' : ` of ${limit}`}${over}${ended.code === 0 ? '' : '  FAILED'}`,
    );
    if (over !== '') lines.push(...slowest(files));
  }
  if (ended.code !== 0) break;
}
console.log(`\ntest: minutes of each part\n${lines.join('\n')}`);
tell('test: passed at the second try only, each a fault of the test or of the product', passedLater);
tell('test: red', ended.red);
rmSync(notes, { recursive: true });
process.exit(ended.code);
