import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { rankedVoters } from '../../scheduler/raft/quorum.ts';
import type { WebhookApi } from '../local-api/agent-api.ts';
import type { OwnWebhook } from './own-webhook.ts';

/** Of so many projects that this is not enough the first are done then. */
const lookMs = 5_000;

/** What people ask about the doors for webhooks, answered by a machine that holds GitLab's token. */
export class WebhookRequests implements WebhookApi {
  readonly #ledger: () => Ledger;
  readonly #unseal: (sealed: string) => string | null;
  readonly #own: () => Pick<OwnWebhook, 'look'> | null;

  constructor(
    ledger: () => Ledger,
    unseal: (sealed: string) => string | null,
    own: () => Pick<OwnWebhook, 'look'> | null,
  ) {
    this.#ledger = ledger;
    this.#unseal = unseal;
    this.#own = own;
  }

  async webhookTest(): ReturnType<WebhookApi['webhookTest']> {
    const ledger = this.#ledger();
    const { url, token: sealed } = ledger.gitlab;
    if (url === null || sealed === null)
      throw new AutogitError('no-gitlab', 'no GitLab with an admin token is connected to this mesh');
    const token = this.#unseal(sealed);
    if (token === null)
      throw new AutogitError('unsupported', "this machine does not hold GitLab's token: only those that may lead do", {
        hint: 'the same on a machine that votes: autogit-node status -o wide',
      });
    // Who has just let GitLab's hooks into the LAN, or made the first project, types this.
    await Promise.race([this.#own()?.look(), sleep(lookMs, undefined, { ref: false })]);
    const { testDoors } = await import('../webhook/webhook-test.ts');
    return testDoors(ledger, { url, token }, rankedVoters(ledger.configuration));
  }
}
