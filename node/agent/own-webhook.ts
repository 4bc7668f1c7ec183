import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention, StatusSnapshot } from '../../protocol/status.ts';
import { rankedVoters } from '../../scheduler/raft/quorum.ts';
import { leaderOf } from '../../scheduler/views.ts';
import type { Log } from '../log.ts';
import type { Network, Store } from '../ports.ts';
import type { WebhookSettings } from '../settings/settings-webhook.ts';
import type { WebhookHere, WebhookRoom } from '../webhook/webhook-room.ts';
import type { Member } from './member.ts';

type Seen = NonNullable<StatusSnapshot['gitlab']['webhook']>;

/**
 * Most machines have no door for webhooks, and nothing of its code in memory. It comes with the setting, and where hooks of before
 * are still to be removed.
 */
export class OwnWebhook {
  readonly #here: WebhookHere;
  #room: WebhookRoom | null = null;
  #loading: Promise<void> | null = null;
  #hasEnded = false;
  #seenOf = '';

  constructor(here: WebhookHere) {
    this.#here = here;
    this.#loading = this.#load().catch((error: Error) => here.log.warn(`webhooks: ${error.message}`));
  }

  async #load(): Promise<void> {
    const { settings, store } = this.#here;
    if (settings === null && !(await store.get('webhook-hooks'))) return;
    const { WebhookRoom } = await import('../webhook/webhook-room.ts');
    if (this.#hasEnded) return;
    this.#room = new WebhookRoom(this.#here);
    this.#room.start();
  }

  /** Only what concerns GitLab is looked at. */
  onLedger({ gitlab, nodes, configuration }: Ledger): void {
    if (this.#room === null) return;
    const { url, epoch, token, mode, leaving, hosted } = gitlab;
    const of = JSON.stringify([
      url,
      epoch,
      token,
      mode,
      leaving,
      hosted?.ending,
      Object.keys(nodes),
      rankedVoters(configuration),
    ]);
    if (of === this.#seenOf) return;
    this.#seenOf = of;
    void this.#room.look();
  }

  /** Makes the hooks that are missing now, not within two minutes. */
  async look(): Promise<void> {
    await this.#loading;
    await this.#room?.look();
  }

  /** Undefined: this machine has none. */
  seen(): Seen | undefined {
    if (this.#room === null || this.#here.settings === null) return undefined;
    const { url, hooks, counts } = this.#room.seen();
    const lastAt = counts?.lastAt ?? null;
    return {
      url,
      projects: hooks,
      lastAt: lastAt === null ? null : new Date(lastAt).toISOString(),
      hints: counts?.hints ?? 0,
      ignored: counts?.ignored ?? 0,
      refused: Object.values(counts?.refused ?? {}).reduce((sum, count) => sum + count, 0),
      lastRefusal: counts?.lastRefusal ?? null,
      problem: this.#room.problem?.sentence ?? null,
    };
  }

  attention(): Attention[] {
    const problem = this.#room?.problem ?? null;
    if (problem === null) return [];
    const sentence = `GitLab's webhooks do not come here: ${problem.sentence}; jobs begin a second or three later`;
    return [{ code: 'webhook-problem', severity: 'warn', sentence, fix: problem.hint }];
  }

  async stop(): Promise<void> {
    this.#hasEnded = true;
    await this.#loading;
    await this.#room?.stop();
  }
}

export const webhookHere = (
  settings: WebhookSettings | null,
  member: Member,
  network: Network,
  store: Store,
  log: Log,
): WebhookHere => ({
  settings,
  self: network.self,
  ledger: () => member.ledger(),
  unseal: (sealed) => member.box.opened(sealed),
  leads: () => leaderOf(member.view().state)?.node === network.self,
  addresses: () => network.addresses(),
  hint: () => member.loop.feed({ kind: 'queue-hinted' }),
  wallMs: () => Date.now(),
  store,
  log,
});
