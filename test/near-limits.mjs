// npm run check: what will have to be split next. A limit that is met by surprise is met by squeezing.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { classSizes, limits } from './sizes.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = execFileSync('git', ['ls-files', '*.ts', '*.tsx', '*.mjs'], { cwd: root, encoding: 'utf8' }).split('\n');
const near = [];
for (const file of files.filter((name) => name !== '')) {
  const text = readFileSync(`${root}${file}`, 'utf8');
  const lines = text.split('\n').length - 1;
  if (lines > 0.9 * limits.file) near.push([lines / limits.file, `${file}: ${lines} of ${limits.file} lines`]);
  // As test/tidy.test.ts has it: of tests only files have a limit.
  for (const { name, lines: size } of file.startsWith('test/') ? [] : classSizes(text))
    if (size > 0.9 * limits.class)
      near.push([size / limits.class, `${file}: class ${name} has ${size} of ${limits.class} lines`]);
}
near.sort(([a], [b]) => b - a);
console.log(`check: next to be split\n${near.map(([, line]) => `  ${line}`).join('\n') || '  nothing'}`);
