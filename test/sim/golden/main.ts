import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileOf, pageOf } from './page.ts';
import { stories } from './stories.ts';

/** npm run sim -- golden [part of a name] [--update]: tells the stories; --update keeps what they tell now. */
const [, , , ...rest] = process.argv;
const isUpdate = rest.includes('--update');
const part = rest.find((word) => !word.startsWith('--')) ?? '';
let changed = 0;
for (const story of stories.filter(({ name }) => name.includes(part))) {
  const page = pageOf(story);
  const file = fileOf(story);
  const isNew = !existsSync(file) || readFileSync(file, 'utf8') !== page;
  if (isNew) changed += 1;
  if (isUpdate && isNew) writeFileSync(file, page);
  process.stdout.write(part === '' ? `${isNew ? 'changed' : 'as kept'}  ${story.name}\n` : `${page}\n`);
}
if (changed > 0)
  process.stdout.write(
    isUpdate ? `${changed} written: read the diff\n` : `${changed} differ: --update keeps what they tell now\n`,
  );
process.exitCode = changed > 0 && !isUpdate ? 1 : 0;
