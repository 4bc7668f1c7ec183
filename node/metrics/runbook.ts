import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nearWord } from '../../scheduler/jobs/near-word.ts';

/*
 * docs/runbook.md, which the bundler puts beside the agent: what each alert and each code of attention means, costs and asks for. An entry
 * is a heading of the third level, and what stands below it.
 */

/** Throws what Node says where it cannot be read. */
export function readRunbook(): string {
  const here = fileURLToPath(new URL('.', import.meta.url));
  return readFileSync(here.endsWith('/dist/') ? join(here, 'runbook.md') : join(here, '../../docs/runbook.md'), 'utf8');
}

export const namesIn = (runbook: string): string[] =>
  [...runbook.matchAll(/^### (\S+)$/gm)].map((heading) => heading[1] as string);

const nearMost = 5;
const plain = (name: string): string => name.toLowerCase().replace(/^autogit|[^a-z0-9]/g, '');

/** Names that may have been meant by one that is none, the nearest first: of the same letters or of a part of it, five at most. */
export function nearIn(runbook: string, name: string): string[] {
  const asked = plain(name.slice(0, 64));
  if (asked === '') return [];
  const names = namesIn(runbook);
  const near = nearWord(asked, names.map(plain));
  const words = name
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word.length > 2);
  const shares = (one: string): number => words.filter((word) => plain(one).includes(plain(word))).length;
  return names
    .map((one) => ({ one, rank: plain(one) === near ? 100 : plain(one).includes(asked) ? 50 : shares(one) }))
    .filter(({ rank }) => rank > 0)
    .sort((a, b) => b.rank - a.rank)
    .slice(0, nearMost)
    .map(({ one }) => one);
}

/** One entry, with its heading; null where there is none. Names of alerts are found in small letters too; acts of all kinds have one entry. */
export function entryIn(runbook: string, name: string): string | null {
  const asked = /^act-/.test(name) ? 'act' : name.toLowerCase();
  const heading = namesIn(runbook).find((known) => known.toLowerCase() === asked);
  if (heading === undefined) return null;
  const from = runbook.indexOf(`### ${heading}\n`);
  const rest = runbook.slice(from + 4);
  const end = rest.search(/^#{1,3} /m);
  return `### ${end < 0 ? rest : rest.slice(0, end)}`.trimEnd();
}

/**
 * For whoever has no page to click on: `[more](trouble.md#x)` is `more (docs/trouble.md)`, which is in the project's repository, and another
 * entry the command that prints it.
 */
export const linksSpelt = (entry: string): string =>
  entry
    .replace(/\[([^\]\n]{1,200})\]\(([\w-]+\.md)(?:#[\w-]*)?\)/g, '$1 (docs/$2)')
    .replace(/\[([^\]\n]{1,200})\]\(#([\w-]+)\)/g, '$1 (autogit-node runbook $2)');
