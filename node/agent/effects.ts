import type { Effect } from '../../scheduler/effects.ts';
import type { Log } from '../log.ts';
import type { GitlabDesk } from './gitlab-desk.ts';
import type { NetworkSlot } from './network-slot.ts';

/** Who does what the core asks for; one entry an effect, so that a new effect cannot be forgotten. */
export type Hands = { [K in Exclude<Effect['kind'], 'persist'>]: (effect: Extract<Effect, { kind: K }>) => void };

/** The hands that need nothing but the network, GitLab and the log. */
export function outsideHands(
  network: NetworkSlot,
  gitlab: GitlabDesk,
  log: Log,
): Omit<
  Hands,
  'probe' | 'answer' | 'publish-ledger' | 'mint-store' | 'departed' | 'take-job' | 'drop-run' | 'hint-run'
> {
  const atGitlab = (effect: Parameters<GitlabDesk['perform']>[0]): void => gitlab.perform(effect);
  return {
    send: ({ to, message, era }) => network.send(to, message, era),
    'cut-link': ({ node, because }) => network.cut(node, because),
    gossip: ({ report }) => network.publish(report),
    note: (said) => log.event(said),
    'read-queue': atGitlab,
    'create-runner': atGitlab,
    'delete-runner': atGitlab,
    'check-runner': atGitlab,
    'fail-run': atGitlab,
    'retry-job': atGitlab,
    'rescue-job': atGitlab,
    'compare-runs': atGitlab,
  };
}

export function perform(hands: Hands, effect: Exclude<Effect, { kind: 'persist' }>): void {
  (hands[effect.kind] as (effect: Effect) => void)(effect);
}
