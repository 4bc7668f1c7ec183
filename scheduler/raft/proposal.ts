import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { compareStamps, sameStamp } from '../../protocol/stamp.ts';
import { note } from '../note.ts';
import { compareEras } from './ledger-order.ts';
import { hasQuorum, sameVoters } from './quorum.ts';
import type { Leading } from './raft-state.ts';
import { nameIn, peerOf, type RaftTurn, thisPersist } from './raft-turn.ts';

/** Documents that may wait for their quorum at once. Above this the leader takes no change (SAFETY: a limit on everything). */
export const maxProposed = 64;

/**
 * The leader's newest document becomes the next one: same term, next version (SAFETY L5). Changes of one step become one
 * document, as long as nobody has seen it.
 */
export function propose(turn: RaftTurn, content: Ledger): void {
  const { raft } = turn;
  const leading = raft.leading as Leading;
  const sameConfiguration = content.configuration === raft.accepted.configuration;
  const { term, version } = raft.accepted.stamp;
  const seq = thisPersist(turn);
  const isUnseen = leading.proposed.at(-1)?.seq === seq && !turn.shown && sameConfiguration;
  const stamp = isUnseen ? { term, version } : { term: raft.term, version: version + 1 };
  const ledger: Ledger = { ...content, stamp };
  raft.accepted = ledger;
  turn.save.accepted = true;
  raft.leading = {
    ...leading,
    proposed: [...(isUnseen ? leading.proposed.slice(0, -1) : leading.proposed), { ledger, seq }],
    configuredBy: sameConfiguration && leading.configuredBy.term === raft.term ? leading.configuredBy : stamp,
    hasNews: true,
  };
}

/**
 * Commits the newest document of the own term that a quorum of *its* configuration has on disk (SAFETY L2, L5). The
 * leader counts itself only where that configuration lists it, and only once it is on its own disk (L6, L10).
 */
export function tryCommit(turn: RaftTurn): boolean {
  const { raft } = turn;
  if (!raft.leading) return false;
  const { proposed } = raft.leading;
  for (let index = proposed.length - 1; index >= 0; index -= 1) {
    const { ledger, seq } = proposed[index]!;
    // A follower may have known it first, and told.
    if (raft.committed && !isAhead(raft.committed, ledger)) return false;
    const has = (node: NodeId, store: string): boolean => {
      if (node === turn.self) return store === turn.identity.store && seq <= raft.diskSeq;
      const { acked, cloned } = peerOf(raft, node);
      return !!acked?.stamp && acked.store === store && !cloned && compareStamps(acked.stamp, ledger.stamp) >= 0;
    };
    if (!hasQuorum(ledger.configuration, has)) continue;
    raft.leading = { ...raft.leading, proposed: proposed.slice(index + 1), hasProgress: true };
    commit(turn, ledger);
    return true;
  }
  return false;
}

/** Of another era, or newer. */
const isAhead = (committed: Ledger, ledger: Ledger): boolean =>
  compareEras(committed.era, ledger.era) !== 0 || compareStamps(ledger.stamp, committed.stamp) > 0;

/** This document is the mesh's now. */
export function commit(turn: RaftTurn, ledger: Ledger): void {
  const { raft } = turn;
  const before = raft.committed;
  raft.committed = ledger;
  turn.save.committed = true;
  turn.effects.push({ kind: 'publish-ledger', ledger });
  if (before) tellNews(turn, before, ledger);
}

function tellNews(turn: RaftTurn, before: Ledger, after: Ledger): void {
  if (before.acts !== after.acts) {
    const known = new Set(before.acts?.map(({ at, sentence }) => `${at} ${sentence}`));
    for (const { kind, at, sentence } of after.acts ?? [])
      if (!known.has(`${at} ${sentence}`))
        note(turn, { event: 'act', level: 'warn', because: sentence, fields: { change: kind } });
  }
  if (before.nodes !== after.nodes)
    for (const [node, { name, because, left }] of Object.entries(after.nodes))
      if (!(node in before.nodes))
        note(turn, { event: 'node-approved', because: `${name} is in the mesh: ${because}`, fields: { node, name } });
      else if (left && !before.nodes[node]!.left)
        note(turn, {
          event: 'node-left',
          because: `${name} has left politely; it comes back by itself`,
          fields: { node, name },
        });
  const { voters, next } = after.configuration;
  if (next !== null || before.configuration === after.configuration) return;
  if (before.configuration.next === null && sameVoters(before.configuration.voters, voters)) return;
  const names = Object.keys(voters).map((node) => nameIn(after, node));
  const tie = Object.keys(voters).find((node) => voters[node]!.weight === 3);
  const changed = reasons(before, after);
  const because = `${names.join(', ')} ${names.length === 1 ? 'votes' : 'vote'}${tie ? `, ${nameIn(after, tie)} breaks ties` : ''}${changed}`;
  note(turn, {
    event: 'voters-changed',
    because,
    fields: { voters: names.join(','), tieBreaker: tie ? nameIn(after, tie) : null },
  });
}

/** Why some vote no more, or with another store. Who is new is in the list itself. */
function reasons(before: Ledger, after: Ledger): string {
  const now = after.configuration.voters;
  const all = Object.entries(before.configuration.voters).flatMap(([node, { store }]) => {
    const entry = after.nodes[node];
    const name = nameIn(before, node);
    if (node in now) return now[node]!.store === store ? [] : [`${name} has a new store`];
    if (!entry) return [`${name} was forgotten`];
    if (entry.left) return [`${name} has left`];
    if (entry.drained) return [`${name} is drained`];
    return [entry.store === null || entry.store === store ? `${name} is away` : `${name} has a new store`];
  });
  return all.length > 0 ? ` (${all.join(', ')})` : '';
}

/** Whether the configuration in force is committed in the own term: only then may another one begin (SAFETY L3). */
export const configurationCommitted = (turn: RaftTurn): boolean => {
  const { committed, leading, term } = turn.raft;
  return (
    !!leading &&
    !!committed &&
    committed.stamp.term === term &&
    compareStamps(committed.stamp, leading.configuredBy) >= 0
  );
};

export const allCommitted = (turn: RaftTurn): boolean =>
  turn.raft.committed !== null && sameStamp(turn.raft.committed.stamp, turn.raft.accepted.stamp);
