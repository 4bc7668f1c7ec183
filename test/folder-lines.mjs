// node test/folder-lines.mjs [commit]: files, lines, median and longest file of each folder, now or at a commit.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const cwd = fileURLToPath(new URL('..', import.meta.url));
const [commit] = process.argv.slice(2);
const git = (...args) => execFileSync('git', args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
const listed = commit ? git('ls-tree', '-r', '--name-only', commit) : git('ls-files');
const folders = new Map();
for (const file of listed.split('\n').filter((name) => /\.(?:ts|mjs|cjs)$/.test(name))) {
  const text = commit ? git('show', `${commit}:${file}`) : readFileSync(`${cwd}${file}`, 'utf8');
  const folder = file.split('/').slice(0, -1).join('/') || '.';
  folders.set(folder, [...(folders.get(folder) ?? []), text.split('\n').length - 1]);
}
const row = (...cells) =>
  console.log(
    `${cells[0].padEnd(32)}${cells
      .slice(1)
      .map((cell) => `${cell}`.padStart(9))
      .join('')}`,
  );
const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);
row('folder', 'files', 'lines', 'median', 'longest');
for (const [folder, sizes] of [...folders].sort(([a], [b]) => a.localeCompare(b))) {
  sizes.sort((a, b) => a - b);
  row(folder, sizes.length, sum(sizes), sizes[Math.floor(sizes.length / 2)], sizes.at(-1));
}
const all = [...folders.values()].flat();
row('all', all.length, sum(all), all.sort((a, b) => a - b)[Math.floor(all.length / 2)], all.at(-1));
