import { createHmac } from 'node:crypto';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger, LedgerSecrets } from '../../protocol/ledger.ts';
import { rankedVoters } from '../../scheduler/raft/quorum.ts';
import { votersCanOpen } from '../../scheduler/secrets-due.ts';
import { isEnvelopes, openEnvelope, openOne, sealFor } from './envelope.ts';
import { seal, unseal } from './seal.ts';

/** The voters, and that machine where it is none of them. */
export function votersAnd({ configuration }: Pick<Ledger, 'configuration'>, and: NodeId | null): NodeId[] {
  const voters = rankedVoters(configuration);
  return and === null || voters.includes(and) ? voters : [...voters, and];
}

interface SecretBoxOptions {
  self: NodeId;
  /** Seed of the identity's Ed25519 key. */
  seed: Uint8Array;
  /** The mesh key of when this machine was let in. */
  meshKey: string;
  ledger(): Ledger | null;
}

/**
 * What this node opens and seals. The mesh key of today comes with the ledger, sealed for each member, since a node was
 * removed; before that, and for who came after, it is the one that was handed over at approval. Older ones open what
 * was sealed with them.
 */
export class SecretBox {
  readonly #options: SecretBoxOptions;
  #known: { keys: LedgerSecrets['keys'] | undefined; ring: string[] } | null = null;

  constructor(options: SecretBoxOptions) {
    this.#options = options;
  }

  /** The mesh key in force, as far as this node knows it. */
  get meshKey(): string {
    return this.#ring()[0] as string;
  }

  seal(text: string): string {
    return seal(this.meshKey, text);
  }

  /**
   * For voters only and, where that is needed, one machine more, where all of them can read that; with the mesh key in a mesh with
   * voters of an older version.
   */
  sealForVoters(text: string, and: NodeId | null = null): string {
    const ledger = this.#options.ledger();
    return ledger && votersCanOpen(ledger) ? sealFor(votersAnd(ledger, and), text) : this.seal(text);
  }

  /** Hex that only this machine can make of that text, the same each time: whoever guesses the text learns nothing by it. */
  mark(text: string): string {
    const key = createHmac('sha256', this.#options.seed).update('autogit mark 1').digest();
    return createHmac('sha256', key).update(text).digest('hex');
  }

  /** Throws `unsupported` for what is not for this node, `store-corrupt` for what does not open. */
  unseal(sealed: string): string {
    if (isEnvelopes(sealed)) return openEnvelope(this.#options.self, this.#options.seed, sealed);
    const ring = this.#ring();
    let failure: unknown;
    for (const key of ring)
      try {
        return unseal(key, sealed);
      } catch (error) {
        failure ??= error;
      }
    throw failure;
  }

  /** Null: not for this node. */
  opened(sealed: string): string | null {
    try {
      return this.unseal(sealed);
    } catch {
      return null;
    }
  }

  canOpen(sealed: string): boolean {
    return this.opened(sealed) !== null;
  }

  /** Newest first. */
  #ring(): string[] {
    const { ledger, self, seed, meshKey } = this.#options;
    const keys = ledger()?.secrets?.keys;
    if (this.#known && this.#known.keys === keys) return this.#known.ring;
    const opened = [...(keys ?? [])].reverse().flatMap(({ sealed }) => {
      const mine = Object.hasOwn(sealed, self) ? sealed[self] : undefined;
      return mine === undefined ? [] : [openOne(self, seed, mine)];
    });
    // Who has no envelope of the newest was let in after it was made, and was handed it.
    const isNewer = keys?.at(-1) !== undefined && !Object.hasOwn(keys.at(-1)!.sealed, self);
    const ring = [...new Set(isNewer ? [meshKey, ...opened] : [...opened, meshKey])];
    this.#known = { keys, ring };
    return ring;
  }
}
