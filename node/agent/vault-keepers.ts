import type { Answer, Ask } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { whyNotKept } from '../../scheduler/hosting/vault-edits.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { throughKeeper } from '../hosting/vault/keeper-way.ts';
import type { Reach } from '../hosting/vault/restic.ts';
import type { Keepers } from '../hosting/vault/vault-opening.ts';
import type { DoorAt } from '../hosting/wire/door-call.ts';
import { PoliteSender, type RateLimit } from '../hosting/wire/polite-sender.ts';
import type { Turns } from '../hosting/wire/turns.ts';
import { hostIn } from '../network/addresses.ts';

interface VaultKeepersOptions {
  self: NodeId;
  ledger(): Ledger | null;
  network: {
    ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
    /** host:port of where it is connected now. */
    addressOf(node: NodeId): string | null;
  };
  /** Of all that this machine sends of GitLab: a push goes before a backup, and the owner's limit is over both. */
  turns: Turns;
  limit: RateLimit;
  /** Where this machine keeps them itself. */
  local: Reach;
}

/** It looks at a disk, which may have to spin up. */
const askMs = 15_000;

/** The machines of the mesh that keep backups of GitLab, as the one that makes them finds them. */
export class VaultKeepers implements Keepers {
  readonly #options: VaultKeepersOptions;
  readonly #said = new Map<NodeId, string>();

  constructor(options: VaultKeepersOptions) {
    this.#options = options;
  }

  named(name: string): NodeId {
    const { ledger, self } = this.#options;
    const known = ledger();
    const node = Object.entries(known?.nodes ?? {}).find(([, one]) => one.name === name)?.[0];
    if (known === null || node === undefined)
      throw new AutogitError('bad-flag', `no machine of the mesh is called ${name}`, {
        hint: 'which there are: autogit-node status -o wide',
      });
    if (node === self)
      throw new AutogitError('bad-flag', `${name} makes the backups itself: if it dies both are gone`, {
        hint: 'name another machine, or a folder on another disk of this one: --to /mnt/disk/gitlab',
      });
    const why = whyNotKept(known, node);
    if (why !== null) throw new AutogitError('unsupported', why);
    return node;
  }

  nameOf(node: NodeId): string {
    return nodeName(this.#options.ledger(), node);
  }

  saidBy(node: NodeId): string | null {
    return this.#said.get(node) ?? null;
  }

  reach(node: NodeId, purpose: 'begin' | 'use'): Reach {
    if (node === this.#options.self) return this.#options.local;
    return (use) => {
      const { turns, limit } = this.#options;
      const turn = turns.begin('copy');
      const pace = new PoliteSender(limit, false);
      const way = throughKeeper({
        name: this.nameOf(node),
        openDoor: () => this.#openDoor(node, purpose),
        ready: async (bytes, signal) => {
          await turn.ready(signal);
          await pace.ready(bytes, signal);
        },
      });
      return way(use).finally(() => turn.end());
    };
  }

  async #openDoor(node: NodeId, purpose: 'begin' | 'use'): Promise<DoorAt> {
    const { ledger, network } = this.#options;
    if (ledger()?.nodes[node] === undefined)
      throw new Error('it is not in the mesh any more: name another place (autogit-node gitlab backup --to TARGET)');
    const answer = await network.ask(node, { kind: 'open-vault-door', purpose }, askMs);
    if (answer.kind !== 'vault-door')
      throw new Error(answer.kind === 'refused' ? answer.because : `it answered with ${answer.kind}`);
    this.#said.set(node, answer.kept);
    const host = hostIn(network.addressOf(node));
    if (host === undefined) throw new Error('it is not connected');
    return { host, port: answer.port, id: answer.id, key: answer.key };
  }
}
