import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { lookUpSo, type ownPlaceOf } from '../../gitlab-bridge/own-place.ts';
import type { Answer } from '../../protocol/asks.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { localNameOf } from '../../protocol/names.ts';
import type { Attention } from '../../protocol/status.ts';
import { hostingOf, isByMeshName } from '../../scheduler/hosting/hosted-edits.ts';
import { nameDuty } from '../../scheduler/hosting/name-duty.ts';
import { gitlabView } from '../../scheduler/snapshot-gitlab.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import type { CoreState } from '../../scheduler/state.ts';
import { committedLedger, leaderContactAt } from '../../scheduler/views.ts';
import type { LocalName } from '../hosting/address/local-name.ts';
import { NameFound } from '../hosting/address/name-found.ts';
import { forwardFolder } from '../hosting/forward/forward-files.ts';
import type { ForwardKeeper } from '../hosting/forward/forward-keeper.ts';
import { doorFor, renewMemberSecret } from '../hosting/gate/member-door.ts';
import { hostIn } from '../network/addresses.ts';
import { hostAddress } from './hosting-answers.ts';
import type { Here, Membership } from './hosting-here.ts';

export interface AddressMembership extends Membership {
  /** Absent: it answers to no name. */
  core?(): CoreState;
}

interface Parts {
  keeper: ForwardKeeper;
  name: LocalName | null;
}

/**
 * That the mesh's own GitLab is reached by this machine too, whichever runs it. Loaded where the mesh hosts one; every other member has
 * none of it in memory and no timer.
 */
export class OwnAddress {
  readonly #here: Here;
  readonly #membership: AddressMembership;
  #loading: Promise<Parts> | null = null;
  #parts: Parts | null = null;
  #isRunning = false;
  readonly #found = new NameFound();
  /** Of GitLab's address, where it is the mesh's. */
  #lookedUp: string | null = null;
  /** Who was a member when the ledger was seen last. */
  #members: readonly string[] | null = null;

  constructor(here: Here, membership: AddressMembership) {
    this.#here = here;
    this.#membership = membership;
  }

  start(): void {
    this.#isRunning = true;
    this.ledgerChanged();
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    if (this.#lookedUp !== null) lookUpSo(this.#lookedUp, null);
    this.#lookedUp = null;
    const parts = await this.#loading?.catch(() => null);
    parts?.name?.stop();
    await parts?.keeper.stop();
  }

  /** The mesh has removed this machine. */
  async removed(): Promise<void> {
    this.#isRunning = false;
    const parts = await this.#loading?.catch(() => null);
    parts?.name?.stop();
    await parts?.keeper.removed();
  }

  ledgerChanged(): void {
    this.#forgetGone();
    this.#lookUp();
    this.#parts?.keeper.ledgerChanged();
    const hosting = hostingOf(this.#membership.ledger());
    // What an agent of before began ends by the keeper too.
    const isLeft = existsSync(forwardFolder(this.#here.home));
    const isWanted = (hosting !== null && this.#here.forwards === true) || isLeft;
    if (!isWanted || !this.#isRunning || this.#loading !== null) return;
    this.#loading = this.#load();
    this.#loading.catch(() => {
      this.#loading = null;
    });
  }

  /** Of the gate here: another machine of the mesh hands on who came to it. */
  openDoor(from: NodeId): Answer {
    const hosting = hostingOf(this.#membership.ledger());
    if (hosting?.host !== this.#here.nodeId)
      return { kind: 'refused', because: 'this machine does not run the GitLab of the mesh' };
    const door = doorFor(this.#here.home, from);
    return door === null
      ? { kind: 'refused', because: 'its gate does not stand yet' }
      : { kind: 'forward-door', ...door };
  }

  attention(): Attention[] {
    const problem = this.#parts?.name?.problem ?? null;
    const name: Attention[] =
      problem === null ? [] : [{ code: 'gitlab-name', severity: 'warn', sentence: problem, fix: null }];
    return [...(this.#parts?.keeper.attention() ?? []), ...name, ...this.#unfound()];
  }

  /** What a process job fetches by itself goes by the name, as its machine's programs find it. */
  #unfound(): Attention[] {
    const name = this.#lookedUp;
    const { ledger, view } = this.#membership;
    if (name === null || gitlabView(view(), ledger()).state !== 'healthy' || !this.#found.isMissing(name)) return [];
    const sentence = `programs of this machine, those of process jobs among them, do not find ${name}, GitLab's address`;
    const fix = 'sudo apt-get install libnss-mdns';
    return [{ code: 'gitlab-name', severity: 'info', sentence, fix }];
  }

  /** The keys of before are for those who were members then. */
  #forgetGone(): void {
    const ledger = this.#membership.ledger();
    const members = ledger === null ? null : Object.keys(ledger.nodes);
    const isAnyGone = members !== null && this.#members?.some((node) => !members.includes(node)) === true;
    if (isAnyGone) renewMemberSecret(this.#here.home);
    this.#members = members ?? this.#members;
  }

  /** Where the mesh's own name is GitLab's address, this machine needs nobody who knows of mDNS to reach it. */
  #lookUp(): void {
    const ledger = this.#membership.ledger();
    const name = isByMeshName(ledger) ? localNameOf(ledger?.mesh.name ?? '') : null;
    if (name === this.#lookedUp) return;
    if (this.#lookedUp !== null) lookUpSo(this.#lookedUp, null);
    this.#lookedUp = name;
    if (name !== null) lookUpSo(name, () => this.#place());
  }

  /** Containers are led to this machine where it forwards, as it does wherever GitLab moves. */
  #place(): ReturnType<typeof ownPlaceOf> {
    const { nodeId, network } = this.#here;
    const hosting = hostingOf(this.#membership.ledger());
    if (hosting === null) return null;
    const own = hostAddress(network.addresses());
    if (hosting.host === nodeId) return { address: '127.0.0.1', forContainers: own };
    const address = hostIn(network.addressOf(hosting.host)) ?? null;
    const isOwn = this.#parts?.keeper.listensOn(hosting.port) === true;
    return address === null ? null : { address, forContainers: isOwn ? own : address };
  }

  async #load(): Promise<Parts> {
    const { ForwardKeeper } = await import('../hosting/forward/forward-keeper.ts');
    const { LocalName } = await import('../hosting/address/local-name.ts');
    const { home, nodeId, version, clock, log, network, forwards = false, mdns = false } = this.#here;
    const { ledger } = this.#membership;
    const keeper = new ForwardKeeper({
      ...{ home, self: nodeId, version, clock, log },
      ledger: () => (forwards ? ledger() : null),
      ask: (node, ask, timeoutMs) => network.ask(node, ask, timeoutMs),
      addressOf: (node) => network.addressOf(node),
      own: () => Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
      nameOf: (node) => nodeName(ledger(), node),
      because: () => this.#because(),
    });
    const name =
      forwards && mdns
        ? new LocalName({
            ...{ self: nodeId, log },
            name: () => localNameOf(ledger()?.mesh.name ?? ''),
            duty: () => this.#duty(keeper),
          })
        : null;
    this.#parts = { keeper, name };
    if (this.#isRunning) {
      keeper.start();
      name?.start();
    }
    return this.#parts;
  }

  /** A leader has the name only where its forwarder shows the page, and no other program of its machine what it likes. */
  #duty(keeper: ForwardKeeper): 'host' | 'leader' | null {
    const state = this.#membership.core?.();
    if (state === undefined) return null;
    const contactAt = leaderContactAt(state);
    const at = this.#here.clock.bootMs();
    const duty = nameDuty(state.hosting, { committed: committedLedger(state), contactAt, at });
    const port = hostingOf(this.#membership.ledger())?.port ?? 0;
    return duty === 'leader' && !keeper.listensOn(port) ? null : duty;
  }

  #because(): string {
    const { ledger, view } = this.#membership;
    const known = ledger();
    const name = nodeName(known, known?.gitlab.host ?? '');
    const { state, hosted } = gitlabView(view(), known);
    if (state !== 'healthy' && hosted !== undefined) return `GitLab on ${name}: ${hosted.because}`;
    return `GitLab runs on ${name}, which is not reached from ${nodeName(known, this.#here.nodeId)} at this moment`;
  }
}
