import type { Era } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { type Stamp, showStamp } from '../../protocol/stamp.ts';
import type { Effect } from '../../scheduler/effects.ts';
import type { CoreState } from '../../scheduler/state.ts';
import { require as must } from './violation.ts';

const flat = (effects: readonly Effect[]): readonly Effect[] =>
  effects.some(({ kind }) => kind === 'persist')
    ? effects.flatMap((effect) => (effect.kind === 'persist' ? [effect, ...flat(effect.then)] : [effect]))
    : effects;

/** All that a step says, at once or when it is on disk. */
export const saidIn = (effects: readonly Effect[]): PeerMessage[] =>
  flat(effects).flatMap((effect) => (effect.kind === 'send' ? [effect.message] : []));

/** Written again here, on purpose: what checks must not be what is checked. */
const isOlder = (a: Stamp, b: Stamp): boolean => a.term < b.term || (a.term === b.term && a.version < b.version);

/**
 * Rules for the answer to one message, whatever comes of it later: nothing is acknowledged to a leader of an old term,
 * nobody gets a vote whose ledger is older than the voter's, a commit mark is a whole stamp (SAFETY L5), who has voted in
 * a term votes no more in it (L10), and who hears of a promise of its own that its store forgot says so, and does not vote
 * until its store has another id (L9). What is said in another era is answered by nothing that counts (L15).
 */
export function answersRightly(
  life: string,
  before: CoreState,
  message: PeerMessage,
  era: Era | null | undefined,
  effects: readonly Effect[],
): void {
  const { term, accepted, rolledBack } = before.raft;
  const said = (): PeerMessage[] => saidIn(effects);
  if (era && era.id !== accepted.era.id)
    return must(
      !said().some(({ kind }) => kind === 'ack' || kind === 'vote-answer' || kind === 'pre-vote-answer'),
      'another-era-is-void',
      () => `${life} in ${accepted.era.id} answers ${message.kind} of ${era.id}`,
    );
  if (message.kind === 'append' && message.term < term)
    must(
      !said().some((answer) => answer.kind === 'ack' && answer.stamp !== null),
      'stale-term',
      () => `${life} in term ${term} acknowledges to a leader of term ${message.term}`,
    );
  if (message.kind === 'append')
    for (const effect of effects)
      if (effect.kind === 'publish-ledger')
        must(
          showStamp(effect.ledger.stamp) === showStamp(message.committed),
          'commit-mark-is-a-whole-stamp',
          () =>
            `${life} hears that ${showStamp(message.committed)} is committed, and takes ${showStamp(effect.ledger.stamp)}`,
        );
  const { promised } = message.kind === 'hello' ? message : { promised: null };
  if (promised !== null && (promised.store ?? before.identity.store) === before.identity.store && rolledBack === null)
    must(
      (promised.term <= term && !isOlder(accepted.stamp, promised.stamp)) ||
        effects.some((effect) => effect.kind === 'note' && effect.event === 'store-rolled-back'),
      'a-store-that-forgot-knows-it',
      () =>
        `${life} hears of its promise of term ${promised.term}, ${showStamp(promised.stamp)}, and thinks nothing of it`,
    );
  if (rolledBack !== null)
    must(
      !said().some((answer) => answer.kind === 'vote-answer' && answer.granted),
      'a-store-that-forgot-does-not-vote',
      () => `${life} votes, and ${rolledBack}`,
    );
  if (message.kind === 'vote' && message.term === term && before.raft.votedFor !== null)
    must(
      !said().some((answer) => answer.kind === 'vote-answer' && answer.granted),
      'one-vote-a-term',
      () => `${life} has voted for ${before.raft.votedFor} in term ${term}, and votes again`,
    );
  if (message.kind === 'vote' && isOlder(message.stamp, accepted.stamp))
    must(
      !said().some((answer) => answer.kind === 'vote-answer' && answer.granted),
      'vote-for-newer',
      () => `${life} with ${showStamp(accepted.stamp)} votes for one with ${showStamp(message.stamp)}`,
    );
}

/**
 * One bad member does not end elections, and gives no work (SAFETY L17): no term rises by more than days of elections
 * could raise it, and no grant is taken of one that this node does not know for the leader of its term.
 */
export function believesNothingImpossible(
  life: string,
  before: CoreState,
  from: string,
  message: PeerMessage,
  effects: readonly Effect[],
): void {
  const { term, leader } = before.raft;
  for (const effect of flat(effects)) {
    if (effect.kind === 'persist')
      for (const write of effect.writes)
        if (write.key === 'promise')
          must(
            write.value.term <= term + 2 ** 20,
            'no-impossible-term',
            () => `${life} in term ${term} hears ${message.kind} of ${from} and goes to term ${write.value.term}`,
          );
    if (effect.kind === 'take-job' && message.kind === 'grant')
      must(
        leader?.node === from && leader.term === message.term,
        'grants-of-the-leader-only',
        () => `${life} takes a grant of ${from}; ${leader?.node} leads in term ${leader?.term}`,
      );
  }
}
