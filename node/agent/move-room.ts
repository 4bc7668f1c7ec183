import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { Answer, Ask } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import { type Hosting, hostingOf, isByAddress, isByMeshName } from '../../scheduler/hosting/hosted-edits.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { diskOf } from '../disk-use.ts';
import { asChecks } from '../hosting/deploy-check.ts';
import { forwarderNow } from '../hosting/forward/forward-files.ts';
import type { KeptGitlab } from '../hosting/kept-gitlab.ts';
import type { TargetSeen } from '../hosting/move/move-ports.ts';
import { MoveTarget } from '../hosting/move/move-target.ts';
import { FitnessLook, fitnessOf, type TargetFitness } from '../hosting/move/target-fitness.ts';
import { existingAt } from '../hosting/place-tree.ts';
import { presets } from '../hosting/presets.ts';
import type { ServiceHost } from '../hosting/service-host.ts';
import { isFolder } from '../hosting/vault/backup-target.ts';
import type { CopiesRoom } from './copies-room.ts';
import { reachedAt } from './hosting-answers.ts';
import type { Here, Membership, MoveAsk } from './hosting-here.ts';

interface MoveRoomOptions
  extends Pick<Here, 'nodeId' | 'home' | 'dockerHost' | 'clock' | 'log' | 'network' | 'forwards' | 'mdns'>,
    Pick<Membership, 'ledger' | 'view' | 'box'> {
  host: ServiceHost;
  copies: Pick<CopiesRoom, 'heldAt' | 'lacks'>;
  kept(): KeptGitlab | null;
  busy(): string | null;
  /** It was booted here beforehand (hosting/beside): it has its memory already. */
  hasBooted(): boolean;
  /** Null once that move is begun no more; else why it is too late for that. */
  cancel(hosting: Hosting, because: string): string | null;
}

const askMs = 5_000;

export const isOfMove = (ask: Ask): ask is MoveAsk => ['check-move', 'move-ready', 'cancel-move'].includes(ask.kind);

/** What this machine answers of a planned move, from here or to here, and asks the other one. */
export class MoveRoom {
  readonly #options: MoveRoomOptions;
  readonly #target: MoveTarget;
  readonly #fitness: FitnessLook;

  constructor(options: MoveRoomOptions) {
    this.#options = options;
    this.#target = new MoveTarget({ ...options, self: options.nodeId });
    this.#fitness = new FitnessLook(options.clock);
  }

  ledgerChanged(): void {
    this.#target.ledgerChanged();
  }

  stop(): Promise<void> {
    return this.#target.stop();
  }

  /** Of the machine to which it moves. Rejects while that does not answer. */
  async ask(to: NodeId, { data, epoch }: Hosting): Promise<TargetSeen> {
    const answer = await this.#options.network.ask(to, { kind: 'move-ready', data, epoch }, askMs);
    if (answer.kind === 'move-target') return answer;
    throw new Error(answer.kind === 'refused' ? answer.because : `it answered with ${answer.kind}`);
  }

  async answer(ask: MoveAsk): Promise<Answer> {
    if (ask.kind === 'move-ready') {
      const { waits, percent, fails } = this.#target.seen(ask);
      const said = (words: string | null) => (words === null ? null : asSentence(words));
      return { kind: 'move-target', waits: said(waits), percent, fails: said(fails) };
    }
    const hosting = hostingOf(this.#options.ledger());
    if (hosting === null || hosting.data !== ask.data)
      throw new AutogitError('no-gitlab', 'this machine does not know that GitLab (yet): the same command again');
    if (ask.kind === 'cancel-move') return this.#cancel(ask.to, hosting);
    return ask.to === this.#options.nodeId ? this.#asTarget(hosting) : this.#asHost(ask, hosting);
  }

  #cancel(to: NodeId, hosting: Hosting): Answer {
    const { nodeId, cancel } = this.#options;
    if (hosting.host !== nodeId || hosting.move?.to !== to)
      throw new AutogitError('no-gitlab', 'this machine knows of no such move (any more): autogit-node gitlab');
    const late = cancel(hosting, "a person took GitLab's move back");
    if (late !== null) throw new AutogitError('unsupported', late, { hint: 'autogit-node gitlab' });
    return { kind: 'said', because: 'GitLab serves on where it is, and does not move' };
  }

  async #asHost({ to }: Ask & { kind: 'check-move' }, hosting: Hosting): Promise<Answer> {
    const { copies, busy, ledger, nodeId } = this.#options;
    const kept = this.#options.kept();
    if (kept === null || hosting.host !== nodeId)
      throw new AutogitError('no-gitlab', 'this machine does not know yet of a GitLab that it hosts');
    const { hostChecks } = await import('../hosting/move/move-checks.ts');
    const { target = null } = ledger()?.gitlab.vault ?? {};
    const checks = hostChecks({
      isServing: kept.life.hasWorked && kept.mayRun,
      busy: busy(),
      lacks: copies.lacks(to),
      ownBackups: target !== null && isFolder(target) ? target : null,
    });
    return { kind: 'move-checked', checks: asChecks(checks), place: null, address: null, awayMs: kept.usualBootMs };
  }

  /** Whether GitLab could go on here by itself, after that time at most. */
  fitness(withinMs: number): Promise<TargetFitness> {
    const hosting = hostingOf(this.#options.ledger());
    if (hosting === null)
      return Promise.resolve({ never: 'this machine knows of no GitLab of the mesh', rather: null });
    const look = async (): Promise<TargetFitness> => {
      const { checks, image, paused } = await this.#lookHere(hosting);
      return fitnessOf({ checks, mustPull: image !== 'here', paused });
    };
    return this.#fitness.of(`${hosting.data} ${hosting.epoch} ${this.#options.hasBooted()}`, look, withinMs);
  }

  async #asTarget(hosting: Hosting): Promise<Answer> {
    const { place, checks, address, ipv6, paused } = await this.#lookHere(hosting);
    const { nameCheck, ownerCheck } = await import('../hosting/move/move-checks.ts');
    const { ledger, nodeId, forwards = false, mdns = false } = this.#options;
    const name = nodeName(ledger(), nodeId);
    const isNameless = isByMeshName(ledger()) && !(forwards && mdns);
    const more = [...ownerCheck(name, paused), ...(isNameless ? [nameCheck(hosting.hostname)] : [])];
    return {
      ...{ kind: 'move-checked', checks: asChecks([...checks, ...more]), awayMs: null },
      place: 'path' in place ? { ...place } : null,
      ...{ address, ...(ipv6 !== undefined && { ipv6 }) },
    };
  }

  /** What speaks for and against GitLab on this machine, but for what its owner wants. */
  async #lookHere(hosting: Hosting) {
    const { home, dockerHost, copies, nodeId, ledger, view, network } = this.#options;
    const known = ledger();
    const place = copies.heldAt(hosting.data);
    const { deployFacts } = await import('../hosting/deploy-facts.ts');
    const { targetChecks } = await import('../hosting/move/move-checks.ts');
    const data = 'path' in place ? place.path : join(home, 'gitlab-copies');
    const found = await deployFacts({ ...hosting, data }, { home, mesh: known?.mesh.id ?? '', dockerHost });
    // What hands on from here to the host of now makes way for the gate.
    const { pid } = forwarderNow(home);
    const taken = found.taken.filter((one) => pid === null || one.pid !== pid);
    const ownBytes = this.#options.hasBooted() ? presets[hosting.preset].leastMemoryBytes : 0;
    const facts = { ...found, taken, availableMemoryBytes: found.availableMemoryBytes + ownBytes };
    const own = view().jobs.reports[nodeId]?.report.measured;
    const runs = Object.values(known?.runs ?? {}).filter(({ node }) => node === nodeId);
    const { hostname: address, ipv6 } = reachedAt(network);
    const checks = targetChecks({
      ...{ hosting, facts, place },
      freeBytes: diskOf(statfsSync(existingAt(data))).freeBytes,
      certificate: await this.#certificateProblem(hosting, hosting.ipv6 === undefined ? address : (ipv6 ?? address)),
      running: runs.filter(({ state }) => state === 'taken' || state === 'running').length,
    });
    const paused = own?.paused === 'all' ? (own.pausedBecause ?? 'its owner has paused it') : null;
    return { checks, place, address, ipv6, paused, image: facts.image.state };
  }

  /** Its certificate is sealed for the voters, and names an address or a name. */
  async #certificateProblem({ https, hostname, ipv6 }: Hosting, address: string): Promise<string | null> {
    if (https === undefined) return null;
    const { box } = this.#options;
    if (!box.canOpen(https.key)) return "the certificate of GitLab's address is sealed for others than this machine";
    const { unboxedCertificate } = await import('../hosting/certificate-box.ts');
    const { whyNotFor } = await import('../hosting/gitlab-certificate.ts');
    const named = isByAddress({ hostname, ipv6 }) ? address : hostname;
    return whyNotFor(unboxedCertificate(https, box.unseal(https.key)), named);
  }
}
