import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { Lan } from '../e2e/namespaces.ts';
import { sleep, until } from '../e2e/rig.ts';
import { places } from './bench-lan.ts';
import { PeerProcess } from './peer-process.ts';

const Status = z.object({
  header: z.object({ member_id: z.string() }),
  leader: z.string().optional(),
});
const Watched = z.object({
  result: z.object({
    created: z.boolean().optional(),
    events: z.array(z.object({ kv: z.object({ value: z.string() }) })).optional(),
  }),
});
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const members = [0, 1, 2] as const;

export interface EtcdSettings {
  name: string;
  heartbeatMs: number;
  electionMs: number;
  /** Of the client's side; the members' is one more. */
  port: number;
}

/** What etcd 3.5 and newer ship by default: pre-vote on. */
export const etcdDefault: EtcdSettings = { name: 'etcd', heartbeatMs: 100, electionMs: 1000, port: 2379 };
/** The fastest that its flags allow. */
export const etcdFast: EtcdSettings = { name: 'etcd 10/100', heartbeatMs: 10, electionMs: 100, port: 3379 };

/** Three members of etcd, one a machine of the LAN, asked by its HTTP gateway. */
export class Etcd {
  readonly settings: EtcdSettings;
  readonly #lan: Lan;
  readonly #dir = mkdtempSync(join(tmpdir(), 'autogit-bench-etcd-'));
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  #processes: PeerProcess[] = [];
  /** How often a member became leader. */
  elections = 0;

  constructor(lan: Lan, settings: EtcdSettings) {
    this.#lan = lan;
    this.settings = settings;
  }

  async start(): Promise<void> {
    this.#processes = members.map((member) => this.#spawn(member, 'new'));
    await this.leader();
  }

  /** Waits until all answer and name one leader, which is returned. */
  async leader(): Promise<number> {
    const found = await until(`${this.settings.name} has one leader`, async () => {
      const all = await Promise.all(members.map((member) => this.#status(member)));
      const leader = all[0]?.leader;
      if (!leader || leader === '0' || all.some((status) => status.leader !== leader)) return null;
      const at = all.findIndex((status) => status.header.member_id === leader);
      return at < 0 ? null : { at };
    });
    return found.at;
  }

  /** ms since `began` of the first acknowledged put, tried every 10 ms at these members in turn; NaN after `limitMs`. */
  async firstPut(at: readonly number[], began: number, limitMs = 30_000): Promise<number> {
    const first = { at: Number.NaN };
    const put = (tries: number): void => {
      this.put(at[tries % at.length] as number, 'failover', `${began}.${tries}`, 20_000).then(
        () => {
          if (Number.isNaN(first.at)) first.at = performance.now() - began;
        },
        () => {},
      );
    };
    for (let tries = 0; Number.isNaN(first.at); tries++) {
      if (performance.now() - began > limitMs) return Number.NaN;
      put(tries);
      const next = began + (tries + 1) * 10;
      while (Number.isNaN(first.at) && performance.now() < next) await sleep(1);
    }
    return first.at;
  }

  async put(member: number, key: string, value: string, timeoutMs = 5_000): Promise<void> {
    await this.#post(member, '/v3/kv/put', { key: base64(key), value: base64(value) }, timeoutMs);
  }

  async moveLeader(from: number, to: number): Promise<void> {
    const { header } = await this.#status(to);
    await this.#post(from, '/v3/maintenance/transfer-leadership', { targetID: header.member_id }, 5_000);
  }

  /** Calls `seen` with every value that is put to `key`, as a client of that member hears it. */
  async watch(member: number, key: string, seen: (value: string, at: number) => void): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const sent = request(`${this.#url(member)}/v3/watch`, { method: 'POST', agent: false }, (answer) => {
        let rest = '';
        answer.setEncoding('utf8');
        answer.on('error', () => {});
        answer.on('data', (data) => {
          const at = performance.now();
          const lines = `${rest}${data}`.split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) {
            const { result } = Watched.parse(JSON.parse(line));
            if (result.created) resolve(() => sent.destroy());
            for (const { kv } of result.events ?? []) seen(Buffer.from(kv.value, 'base64').toString(), at);
          }
        });
      });
      sent.on('error', reject);
      sent.write(`${JSON.stringify({ create_request: { key: base64(key) } })}\n`);
    });
  }

  machineOf(member: number): number {
    return places.etcd + member;
  }

  pid(member: number): number {
    return (this.#processes[member] as PeerProcess).pid;
  }

  kill(member: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    return (this.#processes[member] as PeerProcess).kill(signal);
  }

  restart(member: number): void {
    this.#processes[member] = this.#spawn(member, 'existing');
  }

  /** While others are measured it costs nothing; after `thaw` it elects, if it must, before anything is measured. */
  freeze(): void {
    for (const process of this.#processes) process.signal('SIGSTOP');
  }

  async thaw(): Promise<void> {
    for (const process of this.#processes) process.signal('SIGCONT');
    await sleep(2 * this.settings.electionMs);
    await this.leader();
  }

  /** After a part that failed half way: all members up, and frozen. */
  async mend(): Promise<void> {
    for (const process of this.#processes) process.signal('SIGCONT');
    for (const member of members) if (this.#processes[member]?.isGone) this.restart(member);
    await this.leader();
    this.freeze();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.kill()));
    this.#agent.destroy();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #url(member: number): string {
    return `http://${this.#lan.address(this.machineOf(member))}:${this.settings.port}`;
  }

  #peerUrl(member: number): string {
    return `http://${this.#lan.address(this.machineOf(member))}:${this.settings.port + 1}`;
  }

  #spawn(member: number, state: 'new' | 'existing'): PeerProcess {
    const { heartbeatMs, electionMs } = this.settings;
    const flags = {
      name: `e${member}`,
      'data-dir': join(this.#dir, `e${member}`),
      'heartbeat-interval': heartbeatMs,
      'election-timeout': electionMs,
      'pre-vote': true,
      'listen-peer-urls': this.#peerUrl(member),
      'initial-advertise-peer-urls': this.#peerUrl(member),
      'listen-client-urls': this.#url(member),
      'advertise-client-urls': this.#url(member),
      'initial-cluster': members.map((one) => `e${one}=${this.#peerUrl(one)}`).join(','),
      'initial-cluster-state': state,
      'initial-cluster-token': `autogit-bench-${this.settings.port}`,
      logger: 'zap',
      'log-level': 'info',
    };
    const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
    return new PeerProcess(this.#lan.namespace(this.machineOf(member)), 'etcd', args, (line) => {
      if (/became leader at term/.test(line)) this.elections += 1;
    });
  }

  async #status(member: number): Promise<z.infer<typeof Status>> {
    return Status.parse(JSON.parse(await this.#post(member, '/v3/maintenance/status', {}, 500)));
  }

  #post(member: number, path: string, body: object, timeoutMs: number): Promise<string> {
    const text = JSON.stringify(body);
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    return new Promise((resolve, reject) => {
      const url = `${this.#url(member)}${path}`;
      const sent = request(url, { agent: this.#agent, method: 'POST', headers, timeout: timeoutMs }, (answer) => {
        let got = '';
        answer.setEncoding('utf8');
        answer.on('data', (data) => {
          got += data;
        });
        answer.on('error', reject);
        answer.on('end', () => {
          clearTimeout(timer);
          if (answer.statusCode === 200) resolve(got);
          else reject(new Error(`etcd: ${answer.statusCode} ${got.slice(0, 200)}`));
        });
      });
      const timer = setTimeout(() => sent.destroy(new Error('etcd did not answer in time')), timeoutMs);
      sent.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      sent.end(text);
    });
  }
}
