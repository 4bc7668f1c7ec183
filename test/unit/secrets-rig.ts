import { generateKeyPair } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { SecretKeeper } from '../../node/agent/secret-keeper.ts';
import { newMeshKey, seal } from '../../node/secrets/seal.ts';
import { SecretBox } from '../../node/secrets/secret-box.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { abilities, Ledger } from '../../protocol/ledger.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

interface Who {
  id: string;
  seed: Uint8Array;
}
const people: Who[] = [];
/** Four machines' identities; before a test. */
export async function drawPeople(): Promise<void> {
  for (let index = 0; index < 4; index++) {
    const key = await generateKeyPair('Ed25519');
    people.push({ id: peerIdFromPrivateKey(key).toString(), seed: key.raw });
  }
}
export const who = (index: number): Who => people[index] as Who;
export const meshKey = newMeshKey();
const can = [...abilities];

/** A and B vote, P does not; all of this version unless said otherwise. GitLab is connected, with one class. */
export function mesh(old: number[] = []): Ledger {
  const base = foundedMesh({ node: who(0).id, name: 'a' });
  const { can: _, ...entry } = base.nodes[who(0).id]!;
  const names = ['a', 'b', 'p'];
  const nodes = Object.fromEntries(
    names.map((name, index) => [who(index).id, { ...entry, name, ...(old.includes(index) ? {} : { can }) }]),
  );
  const voters = { [who(0).id]: { store: 's', weight: 2 }, [who(1).id]: { store: 's', weight: 2 } };
  const classes = {
    gpu: {
      tags: ['gpu'],
      state: 'ready' as const,
      nonce: 'n',
      runner: 7,
      token: seal(meshKey, 'glrt-old'),
      lastUsedAt: 0,
      given: false,
    },
  };
  const gitlab = { ...base.gitlab, mode: 'connected' as const, url: 'http://gl', token: seal(meshKey, 'glpat-old') };
  return { ...base, nodes, configuration: { voters, next: null }, classes, gitlab };
}

export const dayMs = 86_400_000;
export const dayAt = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** One ledger, and what each machine does with it. GitLab knows one admin token and one runner token at a time. */
export class SecretsRig {
  ledger: Ledger;
  readonly gitlab = {
    ...{ admin: 'glpat-old', runner: 'glrt-old', calls: [] as string[], fails: false },
    /** When the admin token ends, and how long one that is renewed for longest lives, days. */
    ...{ ends: null as string | null, longest: 364 },
    /** The one of before that goes on beside it. */
    beside: null as string | null,
  };
  readonly facts = new Map<string, string>();
  answers = true;
  leader = 0;
  now = 0;
  wallMs = Date.parse('2026-11-30T12:00:00Z');
  asked = 0;
  /** To change a token. */
  tries = 0;
  /** Answers to a second token that get lost, and GitLab refuses one. */
  readonly seconds = { lost: 0, refused: false };
  failsAs: 'gitlab-refused' | 'gitlab-unreachable' = 'gitlab-refused';
  /** Of the store. */
  reads = 0;
  constructor(ledger: Ledger) {
    this.ledger = ledger;
  }
  box = (index: number): SecretBox =>
    new SecretBox({ self: who(index).id, seed: who(index).seed, meshKey, ledger: () => this.ledger });
  keeper(index: number): SecretKeeper {
    const swap = (what: 'admin' | 'runner') => async (holder: { token: string }, lasts?: 'same' | 'longest') => {
      this.tries += 1;
      if (this.gitlab.fails || holder.token !== this.gitlab[what]) throw new AutogitError('gitlab-refused', 'no');
      this.gitlab.calls.push(what);
      this.gitlab[what] = `${holder.token}+`;
      if (lasts === 'longest') this.gitlab.ends = dayAt(this.wallMs + this.gitlab.longest * dayMs);
      return this.gitlab[what];
    };
    return new SecretKeeper({
      self: who(index).id,
      box: this.box(index),
      ledger: () => this.ledger,
      mayWrite: () => this.leader === index,
      change: async (change) => this.apply(change),
      store: {
        get: async (key) => {
          this.reads += 1;
          return this.facts.get(key) ?? null;
        },
        put: async (key, value) => void this.facts.set(key, value),
      },
      log: { info: () => {}, warn: () => {} },
      now: () => this.now,
      wallMs: () => this.wallMs,
      gitlab: {
        rotate: swap('admin'),
        reset: swap('runner'),
        second: async (holder) => {
          this.tries += 1;
          if (this.gitlab.fails || this.seconds.refused || !this.lives(holder.token))
            throw new AutogitError('gitlab-refused', 'no');
          if (this.seconds.lost > 0) {
            this.seconds.lost -= 1;
            throw new AutogitError('gitlab-unreachable', 'no whole answer');
          }
          this.gitlab.calls.push('second');
          this.gitlab.beside = holder.token;
          this.gitlab.admin = `${holder.token}+`;
          this.gitlab.ends = dayAt(this.wallMs + this.gitlab.longest * dayMs);
          return this.gitlab.admin;
        },
        revoke: async (holder) => {
          if (this.gitlab.fails) throw new AutogitError(this.failsAs, 'no');
          this.gitlab.calls.push('revoke');
          if (this.gitlab.beside === holder.token) this.gitlab.beside = null;
        },
        end: async (holder) => {
          this.asked += 1;
          if (this.gitlab.fails || holder.token !== this.gitlab.admin) throw new AutogitError(this.failsAs, 'no');
          return this.gitlab.ends;
        },
      },
    });
  }
  lives = (token: string): boolean => token === this.gitlab.admin || token === this.gitlab.beside;
  apply(change: Change): ChangeOutcome {
    if (!this.answers) return { state: 'unknown', because: 'the leader changed' };
    const after = applyChange(this.ledger, change, 0);
    if ('refused' in after) return { state: 'refused', because: String(after.refused) };
    this.ledger = Ledger.parse(JSON.parse(JSON.stringify(after)));
    return { state: 'done', because: '' };
  }
  /** So many looks of every machine, a second apart. */
  async live(seconds: number, ...indexes: number[]): Promise<void> {
    const keepers = indexes.map((index) => this.keeper(index));
    for (let second = 0; second < seconds; second++) {
      this.now += 1000;
      for (const keeper of keepers) await keeper.look();
    }
  }
  opens = (index: number, sealed: string | null): string | null => {
    try {
      return this.box(index).unseal(sealed ?? '');
    } catch {
      return null;
    }
  };
}
