import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { type FoundHook, GitlabHooks } from '../../gitlab-bridge/gitlab-hooks.ts';
import { GitlabProjects } from '../../gitlab-bridge/gitlab-projects.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Store } from '../ports.ts';
import { hookPath, hookPlan } from './hook-plan.ts';
import { type DoorSecrets, signingToken } from './webhook-secrets.ts';

const timeoutMs = 10_000;
/** Between two projects, so that GitLab hardly feels it. */
const gapMs = 20;
/** New projects are looked for so often; and all hooks, which a person may have removed. */
const lookEveryMs = 120_000;
const allEveryMs = 6 * 3_600_000;
/** Between two looks: this machine slept, and GitLab may have switched hooks off that led nowhere meanwhile. */
const sleptMs = 3 * lookEveryMs;
/** One project may refuse; that many, and the others would too. */
const failuresMost = 3;
/** An agent that ends does not wait for a slow GitLab. */
const stopMs = 1_000;
const storeKey = 'webhook-hooks';

/**
 * Hooks that this machine has made, so that it can remove them: project and hook. `path`: what the address of each ends with; absent
 * where an agent of before kept them. `allowed`: places that it had GitLab allow to hooks.
 */
const Kept = z.object({
  gitlab: z.string(),
  hooks: z.array(z.tuple([z.int().positive(), z.int().positive()])),
  path: z.string().optional(),
  allowed: z.array(z.string()).optional(),
});

interface GitlabWay {
  gitlab: string;
  token: string;
}

/** What hooks there shall be; null: none. */
export interface HooksWanted {
  gitlab: string;
  adminToken: string;
  ledger: Ledger;
  self: string;
  /** Of this machine's door, as GitLab reaches it: without a slash at its end. */
  door: string;
  secrets: DoorSecrets;
  /** It removes also those of machines that the mesh has no more. */
  leads: boolean;
  /** The mesh runs that GitLab: its owner is who opened this door, and its settings are ours. */
  isOurs: boolean;
}

export interface Problem {
  sentence: string;
  hint: string | null;
}

export const problemOf = (error: unknown): Problem => ({
  sentence: sentenceOf(error),
  hint: error instanceof AutogitError ? error.hint : null,
});

interface KeeperOptions {
  /** `unclear`: this machine cannot tell yet, and changes nothing. */
  wanted(): HooksWanted | null | 'unclear';
  /** The GitLab that the mesh knows, and its token as far as this machine holds it. */
  way(): GitlabWay | null;
  store: Pick<Store, 'get' | 'put'>;
  warn(sentence: string): void;
  info(sentence: string): void;
  wallMs(): number;
}

/**
 * Each machine that has a door sets the hooks that lead to it, in every project, by itself: nobody has to know another's address, and
 * what is done twice ends the same. Life: `look` whenever something may have changed -> `stop`.
 */
export class HookKeeper {
  readonly #options: KeeperOptions;
  /** Project -> hook, of those that are as they shall be. */
  #done = new Map<number, number>();
  #doneOf = '';
  #allAt = 0;
  #lookedAt = 0;
  #kept: z.infer<typeof Kept> | null = null;
  /** Of the GitLab at which hooks are, also when the mesh has forgotten it. */
  #way: GitlabWay | null = null;
  #looking: Promise<void> | null = null;
  #again = false;
  readonly #timer: NodeJS.Timeout;
  #hasEnded = false;
  /** What keeps GitLab from telling this machine anything. */
  problem: Problem | null = null;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.look(), lookEveryMs);
  }

  /** Projects that have a hook to this machine. */
  get hooks(): number {
    return this.#done.size;
  }

  /** Resolves when it is done; one that is under way already is followed by another. Never rejects. */
  async look(): Promise<void> {
    if (this.#hasEnded) return;
    if (this.#looking !== null) {
      this.#again = true;
      await this.#looking;
      return this.#looking ?? undefined;
    }
    this.#looking = this.#look().finally(() => {
      this.#looking = null;
      if (!this.#again) return;
      this.#again = false;
      void this.look();
    });
    await this.#looking;
  }

  /** They stay: an agent that ends comes back. */
  async stop(): Promise<void> {
    this.#hasEnded = true;
    clearInterval(this.#timer);
    await Promise.race([this.#looking, sleep(stopMs, undefined, { ref: false })]);
  }

  async #look(): Promise<void> {
    try {
      this.#kept ??= keptIn(await this.#options.store.get(storeKey));
      const [wanted, way] = [this.#options.wanted(), this.#options.way()];
      if (wanted === 'unclear') return;
      const isAnyThere = this.#kept.hooks.length > 0 || (this.#kept.allowed ?? []).length > 0;
      if (way !== null && (!isAnyThere || way.gitlab === this.#kept.gitlab)) this.#way = way;
      if (isAnyThere && this.#kept.gitlab !== wanted?.gitlab) await this.#removeAll(this.#kept);
      if (wanted === null) [this.#done, this.#doneOf] = [new Map(), ''];
      else {
        this.#way = way;
        await this.#setAll(wanted);
      }
      this.#solved();
    } catch (error) {
      const problem = problemOf(error);
      if (this.problem?.sentence !== problem.sentence && !this.#hasEnded)
        this.#options.warn(`webhooks: ${problem.sentence}; until then the queue is looked at each second or three`);
      this.problem = problem;
    }
  }

  #solved(): void {
    if (this.problem !== null) this.#options.info('webhooks: the hooks are set again');
    this.problem = null;
  }

  async #setAll(wanted: HooksWanted): Promise<void> {
    const { gitlab, adminToken, door, secrets, ledger, self } = wanted;
    // GitLab restored to yesterday may have lost some.
    const of = `${gitlab} ${ledger.gitlab.epoch} ${door} ${secrets.token}`;
    const path = hookPath(ledger.mesh.id, self);
    const [now, wallMs] = [performance.now(), this.#options.wallMs()];
    const hasSlept = wallMs - this.#lookedAt > sleptMs;
    this.#lookedAt = wallMs;
    if (of !== this.#doneOf || now >= this.#allAt || hasSlept) {
      [this.#done, this.#doneOf, this.#allAt] = [new Map(), of, now + allEveryMs];
      // Before the first is made: what is there after a crash is then removed all the same.
      if (this.#kept?.gitlab !== gitlab) await this.#keep({ gitlab, hooks: [], path });
    }
    const way = { url: gitlab, token: adminToken, timeoutMs };
    const hooks = new GitlabHooks(way);
    const wish = {
      url: `${door}${path}`,
      token: secrets.token,
      signingToken: signingToken(secrets),
      name: `autogit ${ledger.mesh.name}`.slice(0, 255),
    };
    const projects = await new GitlabProjects(way).list();
    const there = new Set(projects.map(({ id }) => id));
    for (const id of this.#done.keys()) if (!there.has(id)) this.#done.delete(id);
    const open = projects.filter(({ id }) => !this.#done.has(id));
    const failed: unknown[] = [];
    let anew = 0;
    for (const { id } of open) {
      if (this.#hasEnded || failed.length >= failuresMost) break;
      await this.#setOne(hooks, id, wish, wanted).then(
        (isAnew) => {
          if (isAnew) anew += 1;
        },
        (error) => void failed.push(error),
      );
      await sleep(gapMs);
    }
    if (anew > 0)
      this.#options.info(`webhooks: GitLab had switched ${anew} off, as this door did not answer; they are made anew`);
    if (open.length > 0) await this.#keep({ ...this.#kept, gitlab, hooks: [...this.#done], path });
    if (failed.length > 0) throw failed[0];
    await this.#tendAllowed(hooks, new URL(wish.url).host);
  }

  /**
   * What this machine had GitLab allow: its door, which another's change of the list at the same moment may have taken off it, and not
   * the places that its door had before.
   */
  async #tendAllowed(hooks: GitlabHooks, host: string): Promise<void> {
    const { allowed = [] } = this.#kept ?? {};
    if (this.#kept === null || allowed.length === 0) return;
    if (allowed.includes(host)) await hooks.allow(host);
    const former = allowed.filter((one) => one !== host);
    if (former.length === 0) return;
    await hooks.disallow(former);
    await this.#keep({ ...this.#kept, allowed: allowed.filter((one) => one === host) });
  }

  /** True where GitLab had switched it off. */
  async #setOne(
    hooks: GitlabHooks,
    project: number,
    wish: Parameters<GitlabHooks['set']>[2],
    { ledger, self, leads, isOurs }: HooksWanted,
  ): Promise<boolean> {
    const there = await hooks.list(project);
    if (there === null) return false;
    const plan = hookPlan(there, ledger, self, leads);
    for (const hook of plan.remove) await hooks.remove(project, hook);
    const { host } = new URL(wish.url);
    const used = [host, ...hostsOf(there.filter((hook) => !plan.remove.includes(hook.id)))];
    const gone = hostsOf(there.filter((hook) => plan.remove.includes(hook.id)));
    if (isOurs) await hooks.disallow(gone.filter((one) => !used.includes(one)));
    const set = (): Promise<number> => hooks.set(project, plan.set, wish);
    const id = await set().catch(async (error: unknown) => {
      if (!(isOurs && error instanceof AutogitError && error.code === 'gitlab-refused')) throw error;
      await hooks.allow(host, async () => {
        if (this.#kept)
          await this.#keep({ ...this.#kept, allowed: [...new Set([...(this.#kept.allowed ?? []), host])] });
      });
      return set();
    });
    this.#done.set(project, id);
    return plan.anew;
  }

  /** Of a GitLab that is left, or where this machine has no door any more. */
  async #removeAll(kept: z.infer<typeof Kept>): Promise<void> {
    const { gitlab, hooks, path, allowed = [] } = kept;
    const { warn, info } = this.#options;
    if (this.#way?.gitlab !== gitlab)
      warn(`webhooks: ${hooks.length} at ${gitlab} stay there, as its token is not here any more; they lead nowhere`);
    else {
      const client = new GitlabHooks({ url: gitlab, token: this.#way.token, timeoutMs });
      let failed = 0;
      for (const [index, [project, hook]] of hooks.entries()) {
        // The next start goes on with it.
        if (this.#hasEnded) return this.#keep({ ...kept, hooks: hooks.slice(index) });
        await removeOwn(client, project, hook, path).catch(() => {
          failed += 1;
        });
      }
      await client.disallow(allowed).catch(() => {
        warn(`webhooks: GitLab at ${gitlab} still allows hooks to ${allowed.join(', ')}`);
      });
      if (failed > 0) warn(`webhooks: ${failed} of ${hooks.length} could not be removed from ${gitlab}`);
      else info(`webhooks: ${hooks.length} removed from ${gitlab}`);
    }
    await this.#keep({ gitlab: '', hooks: [] });
  }

  async #keep(kept: z.infer<typeof Kept>): Promise<void> {
    this.#kept = kept;
    // Of no GitLab there is nothing to remove: the next agent without a door need not load this.
    await this.#options.store.put(storeKey, kept.gitlab === '' ? '' : JSON.stringify(kept));
  }
}

/** A number alone says nothing: a GitLab that was put back to a state of before gives it again, to a hook that a person makes. */
async function removeOwn(client: GitlabHooks, project: number, hook: number, path: string | undefined): Promise<void> {
  const there = path === undefined ? null : await client.list(project);
  const its = there?.find(({ id }) => id === hook);
  if (its !== undefined && !(URL.canParse(its.url) && new URL(its.url).pathname.endsWith(path ?? ''))) return;
  await client.remove(project, hook);
}

/** Where they lead, as GitLab's list of allowed places has it. */
const hostsOf = (hooks: readonly FoundHook[]): string[] =>
  hooks.flatMap(({ url }) => (URL.canParse(url) ? [new URL(url).host] : []));

function keptIn(text: string | null): z.infer<typeof Kept> {
  try {
    return Kept.parse(JSON.parse(text ?? ''));
  } catch {
    return { gitlab: '', hooks: [] };
  }
}
