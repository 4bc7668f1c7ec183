import type { HandlersOf } from '../../scheduler/effect-table.ts';
import type { Effect } from '../../scheduler/effects.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import type { Log } from '../log.ts';
import type { RunSupervisor } from '../runs/run-supervisor.ts';
import type { DeferredNetwork } from './deferred-network.ts';

/** All that the core asks for but `persist`, which the loop does itself. */
export type EffectHandlers = HandlersOf<'network' | 'gitlab' | 'runs' | 'agent' | 'hosting'>;

type Feed = (happened: Happened) => void;

export const networkHandlers = (network: DeferredNetwork, feed: Feed): HandlersOf<'network'> => ({
  send: ({ to, message, era }) => network.send(to, message, era),
  'cut-link': ({ node, because }) => network.cut(node, because),
  gossip: ({ report }) => network.publish(report),
  probe: ({ node }) =>
    void network.probe(node).then(({ result, tookMs }) => feed({ kind: 'probed', node, result, tookMs })),
});

export const runHandlers = (runs: RunSupervisor, feed: Feed, log: Pick<Log, 'warn'>): HandlersOf<'runs'> => ({
  'take-job': (effect) => {
    runs.take(effect).then(
      (outcome) => feed({ kind: 'take-ended', grant: effect.grant, outcome }),
      (error: Error) => {
        const outcome = { kind: 'failed' as const, because: error.message, maybeTaken: true };
        feed({ kind: 'take-ended', grant: effect.grant, outcome });
      },
    );
  },
  'hint-run': ({ run }) => runs.hint(run),
  'drop-run': ({ run, because }) => {
    runs.drop(run, because).catch((error: Error) => log.warn(`drop-run ${run}: ${error.message}`));
  },
});

export function perform(handlers: EffectHandlers, effect: Exclude<Effect, { kind: 'persist' }>): void {
  (handlers[effect.kind] as (effect: Effect) => void)(effect);
}
