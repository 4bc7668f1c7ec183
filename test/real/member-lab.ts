import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKeyPair } from '@libp2p/crypto/keys';
import type { PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { DeferredNetwork } from '../../node/agent/deferred-network.ts';
import { Member } from '../../node/agent/member.ts';
import { systemClock } from '../../node/clock.ts';
import type { Log } from '../../node/log.ts';
import type { Machine, Store } from '../../node/ports.ts';
import { newMeshKey } from '../../node/secrets/seal.ts';
import { openStore } from '../../node/store/level-store.ts';
import type { Change } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { showStamp } from '../../protocol/stamp.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { measured } from '../unit/jobs-lab-machines.ts';
import { type Party, party, until } from './network-party.ts';

/**
 * Whole members in one process: the agent's core, its store on disk and its network on sockets of 127.0.0.1. A machine
 * can be off, and its store can be an old copy when it starts again.
 */
export class LabMember {
  readonly name: string;
  readonly key: PrivateKey;
  readonly id: string;
  readonly folder: string;
  readonly notes: { event: string; sentence: string }[] = [];
  readonly heard: { from: string; message: PeerMessage }[] = [];
  /** What this agent process, or a former one, took for committed: stamp -> the value of `graceMs` in it. */
  readonly committed = new Map<string, number>();
  party: Party | null = null;
  member: Member | null = null;
  #store: Store | null = null;
  /** Kept, so that the others find it again. */
  #port = 0;

  constructor(name: string, key: PrivateKey, folder: string) {
    this.name = name;
    this.key = key;
    this.id = peerIdFromPrivateKey(key).toString();
    this.folder = folder;
  }

  get running(): Member {
    if (this.member === null) throw new Error(`${this.name} is off`);
    return this.member;
  }

  get network(): Party {
    if (this.party === null) throw new Error(`${this.name} is off`);
    return this.party;
  }

  get ledger(): Ledger {
    const ledger = this.running.ledger();
    if (ledger === null) throw new Error(`${this.name} has no ledger`);
    return ledger;
  }

  get term(): number {
    return this.running.loop.state.raft.term;
  }

  get leads(): boolean {
    return this.running.loop.state.raft.leading !== null;
  }

  get leader(): string | null {
    return this.running.loop.state.raft.leader?.node ?? null;
  }

  /** What its disk holds. The store must not be open. */
  async onDisk<T>(what: (store: Store) => Promise<T>): Promise<T> {
    const store = await openStore(join(this.folder, 'store'));
    try {
      return await what(store);
    } finally {
      await store.close();
    }
  }

  /** What enrolment ends with: a ledger in which it is a member is on disk. */
  async accepts(ledger: Ledger): Promise<void> {
    await this.onDisk((store) =>
      store.write([
        { key: 'accepted', value: ledger },
        { key: 'committed', value: ledger },
      ]),
    );
  }

  copyDisk(): string {
    const copy = `${this.folder}.copy`;
    cpSync(this.folder, copy, { recursive: true });
    return copy;
  }

  restoreDisk(copy: string): void {
    rmSync(this.folder, { recursive: true, force: true });
    cpSync(copy, this.folder, { recursive: true });
  }

  async start(): Promise<void> {
    const store = await openStore(join(this.folder, 'store'));
    this.#store = store;
    const slot = new DeferredNetwork();
    const clock = systemClock();
    const machine: Machine = { measure: async () => measured({ executors: [] }), ...clock };
    const member = new Member({
      home: this.folder,
      name: this.name,
      version: 'test',
      dockerHost: null,
      holdsCopies: true,
      hasDrills: true,
      copyRateBytes: null,
      settingsFile: '/nowhere/autogit.yml',
      nodeId: this.id,
      durable: await store.load(),
      meshKey: newMeshKey(),
      seed: this.key.raw,
      network: slot,
      store,
      clock,
      machine,
      executors: [],
      log: this.#log(),
      onLedger: ({ stamp, settings }) => this.committed.set(showStamp(stamp), settings.graceMs),
      onEnd: (error) => this.notes.push({ event: 'crashed', sentence: String(error) }),
    });
    this.member = member;
    this.party = await party(this.name, {
      privateKey: this.key,
      listen: [`/ip4/127.0.0.1/tcp/${this.#port}`],
      events: {
        message: (from, message, era) => {
          this.heard.push({ from, message });
          member.heard(from, message, era);
        },
        report: (from, report) => member.reported(from, report),
        connected: (node) => member.loop.feed({ kind: 'connected', node }),
        disconnected: (node) => member.loop.feed({ kind: 'disconnected', node }),
        ask: (from, ask) => member.answer(from, ask),
      },
    });
    this.#port = this.party.network.port;
    slot.fill(this.party.network);
    member.start();
  }

  /** As a power cut would, for the others; its disk is as it was at that moment. */
  async stop(): Promise<void> {
    const { member, party: mine } = this;
    this.member = null;
    this.party = null;
    member?.loop.halt();
    await mine?.network.stop();
    await member?.stop();
    await this.#store?.close();
    this.#store = null;
  }

  async change(change: Change): Promise<void> {
    await until(async () => (await this.running.changes.ask(change)).state === 'done', `${change.kind} is decided`);
  }

  #log(): Log {
    const say = (event: string, sentence: string): void => {
      this.notes.push({ event, sentence });
      if (process.env.NETWORK_LOG)
        process.stderr.write(`${(performance.now() / 1000).toFixed(2)} ${this.name} ${event}: ${sentence}\n`);
    };
    const line = (sentence: string): void => say('', sentence);
    return {
      debug: line,
      info: line,
      warn: line,
      error: line,
      event: ({ event, because }) => say(event, because),
      close: () => {},
    };
  }
}

const folders: string[] = [];
const members: LabMember[] = [];

export async function labMember(name: string): Promise<LabMember> {
  const folder = mkdtempSync(join(tmpdir(), `autogit-member-${name}-`));
  folders.push(folder, `${folder}.copy`);
  const made = new LabMember(name, await generateKeyPair('Ed25519'), folder);
  members.push(made);
  return made;
}

/** Stops every member of the test and removes their disks. */
export async function endMembers(): Promise<void> {
  for (const one of members.splice(0)) await one.stop();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** The first founds a mesh and lets the others in; resolves when all vote. */
export async function labMesh(names: string[]): Promise<LabMember[]> {
  const all: LabMember[] = [];
  for (const name of names) all.push(await labMember(name));
  const [founder, ...rest] = all as [LabMember, ...LabMember[]];
  const store = await founder.onDisk(async ({ id }) => id);
  await founder.accepts(
    foundedMesh({
      meshId: 'mesh-1',
      era: 'era-1',
      node: founder.id,
      name: founder.name,
      store,
      wallMs: Date.now(),
      pairUntil: Date.now() + 3_600_000,
    }),
  );
  await founder.start();
  await until(() => founder.leads, 'the founder leads');
  for (const one of rest) await letIn(founder, one);
  await settled(all);
  return all;
}

/** Approved by `by`, and started with the ledger that says so. */
export async function letIn(by: LabMember, newcomer: LabMember): Promise<void> {
  const store = await newcomer.onDisk(async ({ id }) => id);
  const { id, name } = newcomer;
  const approval = {
    name,
    address: '',
    words: '',
    since: Date.now(),
    via: by.id,
    store,
    addresses: [],
    witness: false,
  };
  await by.change({ kind: 'approve-paired', node: id, approval: { ...approval, ignored: false } });
  await newcomer.accepts(by.ledger);
  await newcomer.start();
}

/** All of them vote, follow one leader and have committed the same; returns that leader. */
export async function settled(all: readonly LabMember[]): Promise<LabMember> {
  const holds = (): boolean => {
    const leaders = new Set(all.map((one) => one.leader));
    const stamps = new Set(all.map((one) => showStamp(one.ledger.stamp)));
    const voters = all.map(({ ledger }) => ledger.configuration);
    const isSimple = voters.every(({ next, voters: now }) => next === null && Object.keys(now).length === all.length);
    return leaders.size === 1 && !leaders.has(null) && stamps.size === 1 && isSimple;
  };
  await until(holds, `${all.map(({ name }) => name).join(', ')} are one mesh`, 30_000);
  return all.find((one) => one.leads) as LabMember;
}

/** Everything that any of them ever took for committed, by stamp: two values for one stamp would be two histories. */
export function expectOneHistory(all: readonly LabMember[]): void {
  const values = new Map<string, number>();
  for (const { name, committed } of all)
    for (const [stamp, value] of committed) {
      const known = values.get(stamp);
      if (known !== undefined && known !== value)
        throw new Error(`${name} has another ledger ${stamp} than the others`);
      values.set(stamp, value);
    }
}
