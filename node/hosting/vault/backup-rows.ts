import { join } from 'node:path';
import type { BackupRow } from '../../../protocol/asks.ts';
import { asSentence } from '../../../protocol/ids.ts';
import { type RoundName, roundText } from '../../../protocol/round-name.ts';
import type { ToldRound } from '../wire/frames.ts';
import { keptRounds, roundFolder, roundId, versionIn } from './kept-rounds.ts';
import type { Snapshot } from './restic.ts';
import { readAbout, replacedEpochs, replacedFolder } from './vault-tree.ts';

/** Of one that was asked for by a name that nothing has. */
export const historyHint = 'which there are: autogit-node gitlab history';

export const tagOf = ({ tags }: Snapshot, name: string): string | null =>
  tags?.find((tag) => tag.startsWith(`${name}=`))?.slice(name.length + 1) ?? null;

export const rowOf = (one: Snapshot, data: string, target: string): BackupRow => ({
  id: one.id.slice(0, 8),
  at: Math.max(0, Date.parse(one.time) || 0),
  version: tagOf(one, 'version')?.slice(0, 64) ?? null,
  epoch: Number(tagOf(one, 'epoch')) || 0,
  isOwn: tagOf(one, 'data') === data,
  because: asSentence(`a backup in ${target}`),
});

export const replacedRows = (tree: string): BackupRow[] =>
  replacedEpochs(tree).map((epoch) => {
    const about = readAbout(replacedFolder(tree, epoch));
    return {
      id: `replaced-${epoch}`,
      at: about?.at ?? 0,
      version: about?.version ?? null,
      epoch,
      isOwn: true,
      because: about?.isPinned ? 'GitLab before an upgrade' : 'replaced by a restore',
    };
  });

/** A machine that holds rounds, by name. */
export interface RoundHolder {
  name: string;
  rounds: readonly RoundName[];
}

/** What a machine says that it holds; of one that does not answer nothing more is known than what it said before. */
export interface HeldElsewhere {
  name: string;
  rounds: readonly ToldRound[];
}

interface RoundsHere {
  tree: string;
  /** This machine's name. */
  self: string;
  /** GitLab's version as it says it itself. */
  version: string | null;
  /** As far as they said when they were last connected. */
  others: readonly RoundHolder[];
  /** As they say now: those of `others` that answer. */
  told: readonly HeldElsewhere[];
}

/** Of both sides' files: the same text is the same GitLab, whatever else it adds when it is asked. */
export const versionOf = (live: string, tree: string, version: string | null): string | null => {
  const found = versionIn(live);
  return found !== null && found === versionIn(join(tree, 'live')) ? version : found;
};

/** Rounds of this machine, and those that lie on another one alone. */
export function roundRows({ tree, self, version, others, told }: RoundsHere): BackupRow[] {
  const here = keptRounds(tree, 'hot');
  const known = new Set(here.map(({ name }) => roundText(name)));
  const asked = new Set(told.map(({ name }) => name));
  const all: RoundHolder[] = [
    ...told.map(({ name, rounds }) => ({ name, rounds: rounds.map((one) => one.name) })),
    ...others.filter(({ name }) => !asked.has(name)),
  ];
  const holders = (name: RoundName): string[] =>
    all.filter(({ rounds }) => rounds.some((one) => roundText(one) === roundText(name))).map((one) => one.name);
  const mine = here.map(({ name, wallMs }): BackupRow => {
    const on = holders(name);
    return {
      ...{ id: roundId(name), at: wallMs, epoch: name.epoch, isOwn: true, on: [self, ...on] },
      version: versionOf(roundFolder(tree, 'hot', name), tree, version),
      because: asSentence(`a round on ${self}${on.length > 0 ? `, ${on.join(' and ')} too` : ''}`),
    };
  });
  const dated = new Map(told.flatMap(({ rounds }) => rounds.map((one) => [roundText(one.name), one] as const)));
  const elsewhere = new Map(
    all.flatMap(({ rounds }) => rounds).flatMap((name) => (known.has(roundText(name)) ? [] : [[roundId(name), name]])),
  );
  const ownNote = versionIn(join(tree, 'live'));
  const theirs = [...elsewhere].map(([id, name]): BackupRow => {
    const on = holders(name);
    const row = { id, epoch: name.epoch, isOwn: true, on };
    const round = dated.get(roundText(name));
    const where = `a round on ${on.join(' and ')} alone`;
    // When it was taken its holder alone knows.
    if (round === undefined)
      return { ...row, at: 0, version: null, because: asSentence(`${where}, which does not answer`) };
    const found = round.version;
    return {
      ...{ ...row, at: round.wallMs, version: found !== null && found === ownNote ? version : found },
      because: asSentence(`${where}, brought over when it is restored`),
    };
  });
  return [...mine, ...theirs];
}

/** ms: the newest rounds are a few seconds apart, and one of each half minute tells as much. */
const apartMs = 30_000;

/** What one answer between members has room for (node/network/ask-streams.ts). */
const bytesMost = 48_000;

/** What fits into one answer, newest first: where it is too much, of the rounds that lie close together fewer. */
export function fitting(rows: readonly BackupRow[]): BackupRow[] {
  const sorted = [...rows].sort((a, b) => b.at - a.at);
  const size = (row: BackupRow): number => Buffer.byteLength(JSON.stringify(row)) + 1;
  if (sorted.reduce((sum, row) => sum + size(row), 0) <= bytesMost) return sorted;
  let last = Number.POSITIVE_INFINITY;
  const spread = sorted.filter(({ at, on }, index) => {
    if (on === undefined || index === 0 || at === 0) return true;
    if (last - at < apartMs) return false;
    last = at;
    return true;
  });
  let bytes = 0;
  return spread.filter((row) => {
    bytes += size(row);
    return bytes <= bytesMost;
  });
}
