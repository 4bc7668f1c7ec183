import type { Effect } from './effects.ts';
import type { Happened } from './inputs.ts';

/** Which room of the shell does it. */
type EffectDomain = 'store' | 'network' | 'gitlab' | 'runs' | 'hosting' | 'agent';

interface EffectRow {
  by: EffectDomain;
  /** The inputs that answer it; none: nobody waits for one. */
  answers: readonly Happened['kind'][];
  /** Whether it may be done twice, or late, without harm (SAFETY J6): the core asks again for what is still missing. */
  again: boolean;
  /** What becomes of one that is never done, or never answered. */
  unanswered: string;
}

/** What may be counted on of every effect; the shell's handlers are typed by it, so that a new effect has a row and a hand. */
export const effectTable = {
  persist: { by: 'store', answers: ['persisted'], again: false, unanswered: 'waits: nothing after it is said' },
  send: { by: 'network', answers: [], again: true, unanswered: 'a message may be lost; rounds come again' },
  gossip: { by: 'network', answers: [], again: true, unanswered: 'the next report says the same' },
  probe: { by: 'network', answers: ['probed'], again: true, unanswered: 'forgotten after probeLostMs, asked again' },
  'cut-link': { by: 'network', answers: [], again: true, unanswered: 'its next impossible message asks again' },
  answer: { by: 'agent', answers: [], again: true, unanswered: 'the caller asks by its id (SAFETY L16)' },
  'publish-ledger': { by: 'agent', answers: [], again: true, unanswered: 'the next commit publishes all of it' },
  'mint-store': { by: 'agent', answers: ['store-minted'], again: true, unanswered: 'this node promises nothing (L9)' },
  departed: { by: 'agent', answers: [], again: true, unanswered: 'the shell leaves after its own patience' },
  note: { by: 'agent', answers: [], again: true, unanswered: 'a line is missing' },
  'read-queue': {
    by: 'gitlab',
    answers: ['queue-read', 'queue-failed'],
    again: true,
    unanswered: 'counts as failed after readLimitMs',
  },
  'create-runner': {
    by: 'gitlab',
    answers: ['runner-created', 'runner-failed'],
    again: true,
    unanswered: 'a new nonce after createLimitMs; what was made for the old one is swept (J7)',
  },
  'delete-runner': { by: 'gitlab', answers: ['runner-deleted'], again: true, unanswered: 'again after deleteAgainMs' },
  'check-runner': { by: 'gitlab', answers: ['runner-checked'], again: true, unanswered: 'again after classAskAgainMs' },
  'fail-run': { by: 'gitlab', answers: ['run-failed-at-gitlab'], again: true, unanswered: 'again after failLimitMs' },
  'retry-job': {
    by: 'gitlab',
    answers: ['job-retried'],
    again: true,
    unanswered: 'again after retryAgainMs; it looks before it retries',
  },
  'rescue-job': { by: 'gitlab', answers: ['job-rescued'], again: true, unanswered: 'again after rescueAgainMs' },
  'remove-runners': {
    by: 'gitlab',
    answers: ['runners-removed'],
    again: true,
    unanswered: 'again after removeLimitMs',
  },
  'compare-runs': { by: 'gitlab', answers: ['runs-compared'], again: true, unanswered: 'again after compareEveryMs' },
  'take-job': {
    by: 'runs',
    answers: ['take-ended'],
    again: false,
    unanswered: 'given up after reservationLimitMs (J3)',
  },
  'hint-run': {
    by: 'runs',
    answers: [],
    again: true,
    unanswered: 'the run hears of its cancel with its next sign of life',
  },
  'hold-lease': { by: 'hosting', answers: [], again: true, unanswered: 'the gate shuts when its lease is out (H1)' },
  'end-lease': { by: 'hosting', answers: ['gate-closed'], again: true, unanswered: 'again after askAgainMs (H7)' },
  'find-round': { by: 'hosting', answers: ['round-found'], again: true, unanswered: 'the leader asks again (H10)' },
  'drop-run': { by: 'runs', answers: [], again: true, unanswered: 'told again while the node has the run' },
} as const satisfies Record<Effect['kind'], EffectRow>;

type KindBy<D extends EffectDomain> = {
  [K in Effect['kind']]: (typeof effectTable)[K]['by'] extends D ? K : never;
}[Effect['kind']];

/** The effects that a room does. */
export type EffectBy<D extends EffectDomain> = Extract<Effect, { kind: KindBy<D> }>;

/** One hand an effect, complete by the compiler. */
export type HandlersOf<D extends EffectDomain> = {
  [K in KindBy<D>]: (effect: Extract<Effect, { kind: K }>) => void;
};
