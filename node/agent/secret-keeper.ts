import { z } from 'zod';
import {
  readTokenEnd,
  resetRunnerToken,
  revokeAdminToken,
  rotateAdminToken,
  secondAdminToken,
} from '../../gitlab-bridge/gitlab-tokens.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { type NodeId, shownClass } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { rankedVoters } from '../../scheduler/raft/quorum.ts';
import { secretsDue, votersCanOpen, withoutKey } from '../../scheduler/secrets-due.ts';
import { tokenEnd } from '../../scheduler/token-end.ts';
import { isEnvelopes, recipientsOf, sealFor, sealOne } from '../secrets/envelope.ts';
import { newMeshKey } from '../secrets/seal.ts';
import { type SecretBox, votersAnd } from '../secrets/secret-box.ts';

type Reseal = Change & { kind: 'reseal' };

const lookEveryMs = 1_000;
const timeoutMs = 10_000;
/** After GitLab refused, or did not answer. */
const againMs = 30_000;
/** The leader seals first; who votes and can open steps in after so long, in the order of their rank. */
const stepInMs = 3_000;
/** When GitLab's token ends is asked this often, and at once of another token. */
const endEveryMs = 6 * 3_600_000;
const endAgainMs = 300_000;
/** So long after an answer with a second token was lost: each of those is one more at GitLab, which nobody knows. */
const secondAgainMs = 300_000;
/** Where GitLab allows no longer life than that in which a token is renewed, it is renewed this often. */
const renewEveryMs = 24 * 3_600_000;
const renewAgainMs = 3_600_000;
/** What GitLab gave and the mesh has not committed yet; sealed for this node. */
const pendingFact = 'pending-reseal';
/** `class` null: GitLab's own token. `isSecond`: the old one is to be ended once the mesh goes on by this one. */
const Pending = z.object({
  ...{ class: z.string().nullable(), old: z.string(), now: z.string(), epoch: z.int() },
  isSecond: z.boolean().optional(),
});
type Pending = z.infer<typeof Pending>;

interface SecretKeeperOptions {
  self: NodeId;
  box: SecretBox;
  ledger(): Ledger | null;
  /** True with fresh proof that this node leads (SAFETY J6). */
  mayWrite(): boolean;
  change(change: Change): Promise<ChangeOutcome>;
  store: { get(key: string): Promise<string | null>; put(key: string, value: string): Promise<void> };
  log: { info(sentence: string): void; warn(sentence: string): void };
  /** Monotonic ms. */
  now(): number;
  wallMs(): number;
  gitlab?: GitlabTokens;
}

interface GitlabTokens {
  rotate: typeof rotateAdminToken;
  second: typeof secondAdminToken;
  revoke: typeof revokeAdminToken;
  reset: typeof resetRunnerToken;
  end: typeof readTokenEnd;
}

/**
 * Keeps GitLab's token sealed for exactly those who vote, and changes what a removed machine knew: first the mesh key,
 * then GitLab's own token and the runners'. GitLab's own it also renews before it ends. One thing at a time, each a change of the ledger that does nothing when it
 * comes late. What GitLab gave is on this disk, sealed, before the mesh is asked. GitLab's own token is changed by a second one, where
 * GitLab gives that: the mesh goes on by it, and then the old one is ended, by whoever leads. So no answer that is lost leaves none.
 */
export class SecretKeeper {
  readonly #options: SecretKeeperOptions;
  readonly #gitlab: GitlabTokens;
  #timer: NodeJS.Timeout | null = null;
  #isBusy = false;
  #notBefore = 0;
  /** What is on disk under `pendingFact`, which nobody else writes; null before it was read. */
  #kept: string | null = null;
  /** Since when sealing anew is due, for those who do not lead. */
  #dueSince: number | null = null;
  /** The sealed token whose end was asked for last, and when. */
  #asked: { token: string; at: number } | null = null;
  #renewedAt = Number.NEGATIVE_INFINITY;

  constructor(options: SecretKeeperOptions) {
    this.#options = options;
    this.#gitlab = options.gitlab ?? {
      ...{ rotate: rotateAdminToken, second: secondAdminToken, revoke: revokeAdminToken },
      ...{ reset: resetRunnerToken, end: readTokenEnd },
    };
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookEveryMs);
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#notBefore = Number.POSITIVE_INFINITY;
  }

  /** One look; public for tests. Never throws. */
  async look(): Promise<void> {
    const { ledger, self, now, log } = this.#options;
    const mine = ledger();
    if (this.#isBusy || mine === null || now() < this.#notBefore) return;
    if (!rankedVoters(mine.configuration).includes(self)) return;
    this.#isBusy = true;
    try {
      if (await this.#askPending(mine)) return;
      if (await this.#seal(mine)) return;
      if (!this.#options.mayWrite() || (await this.#endOver(mine))) return;
      if (!(await this.#renew(mine))) await this.#tendEnd(mine);
    } catch (error) {
      this.#notBefore = Math.max(this.#notBefore, now() + againMs);
      log.warn(`a secret could not be changed yet: ${sentenceOf(error)}`);
    } finally {
      this.#isBusy = false;
    }
  }

  /** Envelopes for who came to vote, or came into the mesh, and for nobody else. */
  async #seal(ledger: Ledger): Promise<boolean> {
    const change = this.#missingEnvelopes(ledger);
    if (change === null) {
      this.#dueSince = null;
      return false;
    }
    const { self, mayWrite, now } = this.#options;
    this.#dueSince ??= now();
    const rank = rankedVoters(ledger.configuration).indexOf(self);
    if (mayWrite() || now() - this.#dueSince > stepInMs * (1 + rank)) await this.#options.change(change);
    return true;
  }

  #missingEnvelopes(ledger: Ledger): Reseal | null {
    const { box } = this.#options;
    const change: Reseal = { kind: 'reseal' };
    const anew = (
      sealed: string | null | undefined,
      and: NodeId | null = null,
    ): { was: string; now: string } | null => {
      if (sealed == null || !box.canOpen(sealed)) return null;
      const isRight = votersCanOpen(ledger)
        ? isEnvelopes(sealed) && same(recipientsOf(sealed), votersAnd(ledger, and))
        : !isEnvelopes(sealed);
      return isRight ? null : { was: sealed, now: box.sealForVoters(box.unseal(sealed), and) };
    };
    const notices = Object.fromEntries(
      Object.entries(ledger.notices?.targets ?? {}).flatMap(([name, { secret }]) => {
        const one = anew(secret);
        return one === null ? [] : [[name, one] as const];
      }),
    );
    if (Object.keys(notices).length > 0) change.notices = notices;
    const { token: held, over, vault: backups, hosted, host } = ledger.gitlab;
    const [token, vault, certificate] = [anew(held), anew(backups?.secret), anew(hosted?.https?.key, host)];
    const before = anew(over?.token);
    if (token) change.token = { ...token, epoch: null };
    if (before) change.over = before;
    if (vault) change.vault = vault;
    if (certificate) change.certificate = certificate;
    const newest = ledger.secrets?.keys.at(-1);
    const late = withoutKey(ledger);
    if (newest && newest.epoch === ledger.secrets?.wanted && late.length > 0 && this.#holdsNewest(ledger))
      change.key = {
        epoch: newest.epoch,
        sealed: Object.fromEntries(late.map((node) => [node, sealOne(node, box.meshKey)])),
      };
    return token || before || vault || certificate || change.notices || change.key ? change : null;
  }

  #holdsNewest(ledger: Ledger): boolean {
    return Object.hasOwn(ledger.secrets?.keys.at(-1)?.sealed ?? {}, this.#options.self);
  }

  /** What a removed machine knew. False when nothing was to be done. */
  async #renew(ledger: Ledger): Promise<boolean> {
    const { box, change, log } = this.#options;
    const due = secretsDue(ledger);
    const epoch = ledger.secrets?.wanted ?? 0;
    // Who is of an older version could not follow; what opens GitLab is changed all the same.
    if (due.key && due.blockedBy.length === 0) {
      const key = newMeshKey();
      const sealed = Object.fromEntries(Object.keys(ledger.nodes).map((node) => [node, sealOne(node, key)]));
      const { state } = await change({ kind: 'reseal', key: { epoch, sealed } });
      if (state === 'done') log.info('the mesh has a new key, which the removed machine does not know');
      return true;
    }
    const { url, token } = ledger.gitlab;
    if (url === null) return false;
    if (due.token && token !== null) {
      await this.#another(ledger, url, token, 'same');
      log.info("GitLab's token is another one: the removed machine knew the old one");
      return true;
    }
    const [name] = due.classes;
    const was = name === undefined ? null : (ledger.classes[name]?.token ?? null);
    if (name === undefined || was === null) return false;
    const old = box.unseal(was);
    const now = await this.#gitlab.reset({ url, token: old, timeoutMs });
    await this.#keepAndAsk({ class: name, old, now, epoch });
    log.info(`the runner of ${shownClass(name)} has a new token: the removed machine knew the old one`);
    return true;
  }

  /** GitLab ends each token after a year at the latest: the mesh knows when, and renews it a week before. */
  async #tendEnd(ledger: Ledger): Promise<void> {
    const { box, change, log, now, wallMs } = this.#options;
    const { url, token, mode } = ledger.gitlab;
    if (mode !== 'connected' || url === null || token === null) return;
    if (this.#asked?.token !== token || now() - this.#asked.at >= endEveryMs) {
      this.#asked = { token, at: now() };
      const day = await this.#gitlab.end({ url, token: box.unseal(token), timeoutMs }).catch((error: unknown) => {
        // A GitLab that refuses tells nothing of this token; one that does not answer is asked a little later. Both are said elsewhere.
        if ((error as AutogitError).code === 'gitlab-unreachable')
          this.#asked = { token, at: now() - endEveryMs + endAgainMs };
      });
      if (day === undefined) return;
      const at = day === null ? null : Date.parse(day);
      if (at !== (ledger.gitlab.tokenEnds ?? null)) await change({ kind: 'reseal', ends: { of: token, at } });
      return;
    }
    const end = tokenEnd(ledger, wallMs());
    if (end?.state !== 'renewed-now' || now() - this.#renewedAt < renewEveryMs) return;
    // Whoever refuses it now does so in half a minute, too.
    this.#renewedAt = now() - renewEveryMs + renewAgainMs;
    await this.#another(ledger, url, token, 'longest');
    this.#renewedAt = now();
    log.info(`GitLab's token would have ended on ${end.day}: it was renewed`);
  }

  /**
   * By a second token, where GitLab gives one: were the answer to a rotation lost, the mesh would have none. `lasts`: of a rotation.
   */
  async #another(ledger: Ledger, url: string, token: string, lasts: 'same' | 'longest'): Promise<void> {
    const holder = { url, token: this.#options.box.unseal(token), timeoutMs };
    const second = await this.#second(holder);
    const now = second ?? (await this.#gitlab.rotate(holder, lasts));
    const epoch = ledger.secrets?.wanted ?? 0;
    await this.#keepAndAsk({ class: null, old: holder.token, now, epoch, ...(second !== null && { isSecond: true }) });
  }

  /** Null where GitLab gives none. */
  async #second(holder: { url: string; token: string; timeoutMs: number }): Promise<string | null> {
    try {
      return await this.#gitlab.second(holder);
    } catch (error) {
      if ((error as AutogitError).code !== 'gitlab-unreachable') return null;
      this.#notBefore = this.#options.now() + secondAgainMs;
      throw error;
    }
  }

  /** Ends the token of before. False when there is none, or none that this node can open. */
  async #endOver({ gitlab, secrets }: Ledger): Promise<boolean> {
    const { box, change, log } = this.#options;
    const { url, token, over } = gitlab;
    if (url === null || over === undefined || !box.canOpen(over.token)) return false;
    if (token !== null && !box.canOpen(token)) return false;
    const old = box.unseal(over.token);
    // A person may have connected by that one again.
    const isUsed = token !== null && box.unseal(token) === old;
    if (!isUsed)
      await this.#gitlab.revoke({ url, token: old, timeoutMs }).catch((error: AutogitError) => {
        const isKnown = (secrets?.admin ?? 0) < over.epoch;
        if (isKnown || error.code === 'gitlab-unreachable') throw error;
        log.warn(`GitLab's token of before ends by itself only: ${error.message}`);
      });
    await change({ kind: 'reseal', ended: { of: over.token } });
    return true;
  }

  async #keepAndAsk(pending: Pending): Promise<void> {
    const { self, ledger } = this.#options;
    await this.#keep(sealFor([self], JSON.stringify(pending)));
    const mine = ledger();
    if (mine) await this.#askPending(mine);
  }

  async #keep(sealed: string): Promise<void> {
    // What the disk has after a write that failed is read there.
    this.#kept = null;
    await this.#options.store.put(pendingFact, sealed);
    this.#kept = sealed;
  }

  /** True while something waits to be told. It is over when the ledger has it, or has something that is newer. */
  async #askPending(ledger: Ledger): Promise<boolean> {
    const { box, store, change, mayWrite } = this.#options;
    this.#kept ??= (await store.get(pendingFact)) ?? '';
    if (this.#kept === '') return false;
    const pending = Pending.parse(JSON.parse(box.unseal(this.#kept)));
    const { old, now, epoch, isSecond = false } = pending;
    const was = pending.class === null ? ledger.gitlab.token : (ledger.classes[pending.class]?.token ?? null);
    // Sealed anew meanwhile, it is still the old one: what counts is what is in it.
    if (was === null || (box.canOpen(was) && box.unseal(was) !== old)) {
      await this.#keep('');
      return true;
    }
    // Another leader makes one of its own, as long as the old one is in force; one of an earlier version would not end that.
    if (isSecond && !mayWrite()) return false;
    const outcome = await change(
      pending.class === null
        ? {
            kind: 'reseal',
            token: { was, now: box.sealForVoters(now), epoch, ...(isSecond && { over: box.sealForVoters(old) }) },
          }
        : { kind: 'reseal', runner: { class: pending.class, was, now: box.seal(now), epoch } },
    );
    if (outcome.state !== 'done') throw new AutogitError('no-leader', outcome.because);
    return true;
  }
}

const same = (some: readonly NodeId[], others: readonly NodeId[]): boolean =>
  some.length === others.length && some.every((node) => others.includes(node));
