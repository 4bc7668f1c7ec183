import { AutogitError } from '../../protocol/errors.ts';
import { Tag } from '../../protocol/ids.ts';

/**
 * What becomes of a job that is in its machine's owner's way. `finish`: it runs to its end, nothing new begins. `freeze`: it
 * stands still. `suspend`: and what it has in GPU memory moves into main memory; where that cannot be done it is frozen, or
 * ended with `suspend/end`. `end`: it fails as the machine's fault, and runs again elsewhere.
 */
export const ways = ['finish', 'freeze', 'suspend', 'suspend/end', 'end'] as const;
export type Way = (typeof ways)[number];

export interface GiveWay {
  /** For jobs of no tag below; null: the owner did not say. */
  usual: Way | null;
  /** In the order in which they were said: the first of a job's tags that is found counts. */
  byTag: readonly { tag: string; way: Way }[];
}

export const isWay = (text: string): text is Way => (ways as readonly string[]).includes(text);

const most = 32;

/** `freeze`, `train=suspend`. Throws `bad-flag` with a sentence that names no source. */
export function readGiveWay(list: readonly string[]): GiveWay {
  const byTag: { tag: string; way: Way }[] = [];
  let usual: Way | null = null;
  if (list.length > most) throw new AutogitError('bad-flag', `at most ${most} of them`);
  for (const text of list) {
    const at = text.lastIndexOf('=');
    const way = text.slice(at + 1).trim();
    const tag = at < 0 ? null : text.slice(0, at).trim();
    if (!isWay(way))
      throw new AutogitError('bad-flag', `"${way}" is none of ${ways.join(', ')}; write freeze, or train=suspend`);
    if (tag === null && usual !== null)
      throw new AutogitError('bad-flag', `${usual} and ${way} for all jobs: leave one out`);
    if (tag !== null && !Tag.safeParse(tag).success) throw new AutogitError('bad-flag', `"${tag}" is no tag`);
    if (byTag.some((one) => one.tag === tag)) throw new AutogitError('bad-flag', `tag ${tag} stands there twice`);
    if (tag === null) usual = way;
    else byTag.push({ tag, way });
  }
  return { usual, byTag };
}

/** `fallback`: where the owner did not say. */
export const wayOf = (rules: GiveWay, tags: readonly string[], fallback: Way): Way =>
  rules.byTag.find(({ tag }) => tags.includes(tag))?.way ?? rules.usual ?? fallback;
