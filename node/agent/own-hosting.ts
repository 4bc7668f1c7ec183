import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Answer, Ask } from '../../protocol/asks.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Attention } from '../../protocol/status.ts';
import type { HandlersOf } from '../../scheduler/effect-table.ts';
import { isNamedIn } from '../../scheduler/hosting/copies-set.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { GitlabHandOver } from './gitlab-hand-over.ts';
import type { DoorAsk, Here, HostingAsk } from './hosting-here.ts';
import type { HostingRoom } from './hosting-room.ts';
import { type AddressMembership, OwnAddress } from './own-address.ts';

/** What an agent of before has left in its home, if it hosted, held copies, or backed one up. */
const traces = [
  'hosted-gitlab.json',
  'hosted-gitlab.json.copy',
  'gitlab-copies',
  'gitlab-protect',
  'gitlab-vault',
  'adopted-gitlab.json',
];

/** Where an upgrade replaces its files. */
const loadAgainMs = 5_000;
const owedMost = 64;

/**
 * The mesh's own GitLab, as every member has it: most run none and hold no copies of one, and have none of its code in memory and
 * no timer. That comes with the first ledger that names this machine, with what lies in its home, or with the first question.
 */
export class OwnHosting {
  readonly #here: Here;
  readonly #membership: AddressMembership;
  readonly #hasTraces: boolean;
  readonly #address: OwnAddress;
  readonly handOver: GitlabHandOver;
  #room: HostingRoom | null = null;
  #loading: Promise<HostingRoom> | null = null;
  #isRunning = false;
  #hasEnded = false;
  #hasBegun = false;
  /** What waits for the room. */
  readonly #owed: ((room: HostingRoom) => void)[] = [];

  constructor(here: Here, membership: AddressMembership) {
    this.#here = here;
    this.#membership = membership;
    this.#address = new OwnAddress(here, membership);
    const { nodeId: self, handsOver = 'never', log } = here;
    const { ledger, view } = membership;
    this.handOver = new GitlabHandOver({
      ...{ self, handsOver, log, ledger, view },
      answer: (ask) => this.answer(ask),
    });
    this.#hasTraces = traces.some((name) => existsSync(join(here.home, name)));
  }

  handlers(): HandlersOf<'hosting'> {
    return {
      'hold-lease': (effect) => this.#begin((room) => room.holdLease(effect)),
      'end-lease': (effect) => this.#begin((room) => room.endLease(effect)),
      'find-round': (effect) => this.#begin((room) => room.findRound(effect)),
    };
  }

  start(): void {
    if (!this.#here.holdsCopies) this.#membership.feed({ kind: 'copies-said', copies: 'never' });
    this.#isRunning = true;
    this.#address.start();
    if (this.#isConcerned()) this.#begin();
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    this.#hasEnded = true;
    // What could not be loaded has nothing to end, and all else of the agent's is still to be.
    const room = await this.#loading?.catch(() => null);
    await Promise.all([room?.stop(), this.#address.stop()]);
  }

  /** The mesh has removed this machine: what it ran ends, where it ran anything. */
  async removed(): Promise<void> {
    await this.#address.removed();
    if (!this.#hasBegun && !this.#isConcerned()) return;
    this.#begin();
    await (await this.#load()).removed();
  }

  ledgerChanged(): void {
    this.#address.ledgerChanged();
    if (this.#hasBegun) this.#room?.ledgerChanged();
    else if (this.#isRunning && this.#isConcerned()) this.#begin();
  }

  /** This machine runs the mesh's GitLab, or shall. */
  hosts(): boolean {
    return hostingOf(this.#membership.ledger())?.host === this.#here.nodeId;
  }

  /** What keeps it from being served from here. */
  attention(): Attention[] {
    return [...(this.#room?.attention() ?? []), ...this.#address.attention(), ...this.handOver.attention()];
  }

  /** From the host of what this machine holds copies of, or whose backups it keeps; or, where this is the host, from any member. */
  async openDoor(from: NodeId, ask: DoorAsk | (Ask & { kind: 'open-forward-door' })): Promise<Answer> {
    if (ask.kind === 'open-forward-door') return this.#address.openDoor(from);
    return (await this.#load()).openDoor(from, ask);
  }

  async answer(ask: HostingAsk): Promise<Answer> {
    const answer = await (await this.#load()).answer(ask);
    // From then on this machine has to do with a GitLab, whatever the ledger says yet.
    if (ask.kind === 'begin-adopt') this.#begin();
    return answer;
  }

  #isConcerned(): boolean {
    const { nodeId } = this.#here;
    const hosting = hostingOf(this.#membership.ledger());
    const isNamed = hosting?.copies !== undefined && isNamedIn(hosting.copies, nodeId);
    const { protected: known, vault } = this.#membership.ledger()?.gitlab ?? {};
    return this.#hasTraces || hosting?.host === nodeId || isNamed || known?.node === nodeId || vault?.keeper === nodeId;
  }

  /** Once, and then `more`. */
  #begin(more?: (room: HostingRoom) => void): void {
    if (this.#hasEnded) return;
    if (!this.#hasBegun) this.#then((room) => room.start());
    this.#hasBegun = true;
    if (more) this.#then(more);
  }

  /** In the order in which it was asked for, also of what comes while the code is loaded. */
  #then(use: (room: HostingRoom) => void): void {
    if (this.#room !== null && this.#owed.length === 0) return use(this.#room);
    this.#owed.push(use);
    // Leases come twice a second, and the newest says it all; the first is its start.
    if (this.#owed.length > owedMost) this.#owed.splice(1, 1);
    if (this.#owed.length === 1) this.#pay();
  }

  /** What cannot be loaded now is tried again: what this machine hosts is not to stay as it is until its agent is started anew. */
  #pay(): void {
    this.#load().then(
      (room) => {
        for (const use of this.#owed.splice(0)) use(room);
      },
      (error: unknown) => {
        this.#here.log.warn(`what looks after GitLab cannot be loaded, and is tried again: ${sentenceOf(error)}`);
        setTimeout(() => (this.#hasEnded ? undefined : this.#pay()), loadAgainMs).unref();
      },
    );
  }

  #load(): Promise<HostingRoom> {
    this.#loading ??= import('./hosting-room.ts').then(({ HostingRoom }) => {
      this.#room = new HostingRoom(this.#here, this.#membership);
      return this.#room;
    });
    // Files that an upgrade replaces at this moment are there again later: one failure is not for ever.
    this.#loading.catch(() => {
      this.#loading = null;
    });
    return this.#loading;
  }
}
