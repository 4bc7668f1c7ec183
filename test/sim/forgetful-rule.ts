import type { Effect } from '../../scheduler/effects.ts';
import type { Input } from '../../scheduler/inputs.ts';
import type { Agent } from './agent.ts';
import { saidIn } from './step-rules.ts';
import { require as must } from './violation.ts';

/**
 * SAFETY L9: a store that knows that it was rolled back promises nothing under the id of what it forgot, and nothing
 * under its new one before that is on disk.
 */
export class ForgetfulRule {
  /** "node/store" of those that found out that they forgot something. */
  readonly #forgetful = new Set<string>();

  /** The note of that name, of this agent. */
  noted(event: string, { machine }: Agent): void {
    if (event === 'store-rolled-back') this.#forgetful.add(`${machine.id}/${machine.disk.store}`);
  }

  /**
   * A store was rolled back, maybe to an id that it had before, or an agent starts with it: as that one it has not found
   * anything out yet. What a life of before had found out and did not get onto the disk went with it.
   */
  begins(disk: string): void {
    this.#forgetful.delete(disk);
  }

  stepped({ life, machine }: Agent, input: Input, effects: readonly Effect[]): void {
    if (this.#forgetful.size === 0) return;
    const heard = input.kind === 'heard' && input.message.kind === 'append' ? input.message : null;
    for (const said of saidIn(effects)) {
      if (said.kind !== 'ack' && !(said.kind === 'vote-answer' && said.granted)) continue;
      // A leader of a former term hears of the newer one: that acknowledges nothing.
      if (said.kind === 'ack' && said.stamp === null && heard !== null && heard.term < said.term) continue;
      must(
        !this.#forgetful.has(`${machine.id}/${said.store}`),
        'a-store-that-forgot-promises-nothing',
        () => `${life} says ${said.kind} as ${said.store}, of which it knows that it was rolled back`,
      );
    }
  }

  promises({ life, machine }: Agent, store: string): void {
    must(
      machine.disk.ids.has(store),
      'store-id-on-disk-before-it-is-said',
      () => `${life} promises as ${store}, and its disk has only ever been ${[...machine.disk.ids]}`,
    );
  }
}
