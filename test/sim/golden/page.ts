import { join } from 'node:path';
import type { Story } from './story.ts';

/** Where a story is kept. Commands run at the root of the repository. */
export const fileOf = ({ name }: Story): string =>
  join(process.cwd(), 'test/sim/golden', `${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}.md`);

/** A story as a page to read: what happens, then every line that somebody said. */
export const pageOf = (story: Story): string =>
  [`# ${story.name}`, '', story.about, '', '```text', story.play().text(), '```', ''].join('\n');
