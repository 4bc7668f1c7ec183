import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import { hostedUrl } from '../../scheduler/hosting/hosted-edits.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { makeAdminToken, readRootPassword, revokeOlderTokens } from './gitlab-first-setup.ts';
import { isRefusedInside } from './gitlab-inside.ts';
import type { HostingMemory } from './hosting-memory.ts';
import type { ServiceHost } from './service-host.ts';

export interface MeshTokenOptions {
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  host: ServiceHost;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  /** For this machine's own file. */
  seal(text: string): string;
  sealForVoters(text: string): string;
  /** The one that the mesh goes by; null where it has none, or this machine may not know it. */
  meshToken(): string | null;
}

/** A token lives a year. */
const renewMs = 300 * 86_400_000;
/** After a failure: each try begins all of Rails. */
const againMs = 30_000;
/** The mesh makes another token when a machine is removed, and that takes some seconds to be in the ledger: so it is asked twice. */
const askEveryMs = 60_000;

/**
 * The mesh's token of the GitLab that is hosted here: made once GitLab works, told to the ledger, made anew before its year is
 * over, and when GitLab refuses it because somebody revoked it. One at a time, beside the keeper's looks, as it takes minutes.
 */
export class MeshToken {
  readonly #options: MeshTokenOptions;
  readonly #memory: HostingMemory;
  #work: Promise<void> | null = null;
  #nextMs = 0;
  /** Made, and not yet the mesh's. */
  #made: { token: string; instance: string | null } | null = null;
  /** Tokens that may have been made since the mesh was told of one. */
  #tries = 0;
  #isWanted = false;
  #askedMs = Number.NEGATIVE_INFINITY;
  #refused: string | null = null;
  problem: string | null = null;

  constructor(options: MeshTokenOptions, memory: HostingMemory) {
    this.#options = options;
    this.#memory = memory;
  }

  /** What is due is done at the next look. */
  soon(): void {
    this.#nextMs = 0;
    this.#askedMs = Number.NEGATIVE_INFINITY;
  }

  /** GitLab works in that container: what is due is begun. */
  tend(hosting: Hosting, id: string): void {
    const { clock } = this.#options;
    if (this.#work !== null || clock.bootMs() < this.#nextMs) return;
    const isDue = this.#isDue(hosting);
    if (!isDue && clock.bootMs() - this.#askedMs < askEveryMs) return;
    if (isDue) this.#nextMs = clock.bootMs() + againMs;
    else this.#askedMs = clock.bootMs();
    this.#work = (isDue ? this.#make(hosting, id) : this.#ask(id))
      .then(
        () => {
          this.problem = null;
        },
        (error: unknown) => {
          this.problem = sentenceOf(error);
          this.#options.log.warn(`the mesh's token of GitLab: ${this.problem}`);
        },
      )
      .finally(() => {
        this.#work = null;
      });
  }

  #isDue({ data }: Hosting): boolean {
    if (this.#isWanted || this.#options.ledger()?.gitlab.url == null) return true;
    const { tokenAt } = this.#memory.read(data);
    return tokenAt !== null && this.#options.clock.wallMs() - tokenAt > renewMs;
  }

  async #ask(id: string): Promise<void> {
    const token = this.#options.meshToken();
    if (token === null || !(await isRefusedInside(this.#options.host, id, token))) {
      this.#refused = null;
      return;
    }
    this.#isWanted = this.#refused === token;
    this.#refused = token;
    if (this.#isWanted) this.#options.log.warn('GitLab refuses the token that the mesh has: another one is made');
  }

  async #make(hosting: Hosting, id: string): Promise<void> {
    const { host, ledger, change, seal, sealForVoters, clock, log } = this.#options;
    const { data, epoch } = hosting;
    const before = ledger();
    if (before === null) return;
    const name = before.mesh.name;
    const isFirst = before.gitlab.url === null;
    if (this.#made === null) {
      const password = isFirst ? await readRootPassword(host, id) : null;
      this.#tries += 1;
      const { token, instance, version, isRootPassword } = await makeAdminToken(host, id, name, password);
      // Of data that an uninstalled GitLab left the file is of their first day, and somebody may have changed it since.
      if (password !== null && isRootPassword && this.#memory.read(data).tokenAt === null)
        this.#memory.write(data, { rootPassword: seal(password) });
      this.#made = { token, instance };
      this.#memory.write(data, { version, tokenAt: clock.wallMs() });
    }
    const { token, instance } = this.#made;
    const told = {
      kind: 'gitlab-stands',
      data,
      epoch,
      url: hostedUrl(hosting),
      token: sealForVoters(token),
      instance,
    } as const;
    const { state, because } = await change(told);
    if (state !== 'done') throw new AutogitError('no-leader', `the mesh does not take GitLab's address: ${because}`);
    this.#made = null;
    this.#isWanted = false;
    log.info(`the mesh has GitLab's address and a token of it: ${told.url}`);
    // Of a try that made one and failed after it there is another, also the first time.
    // So there is in data that stood before: restored ones bring back a token that a removed machine may know.
    if (!isFirst || this.#tries > 1 || epoch > 1) await revokeOlderTokens(host, id, name);
    this.#tries = 0;
  }
}
