import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Lan } from '../../e2e/namespaces.ts';
import { sleep, until } from '../../e2e/rig.ts';
import { killAll, processesOf } from '../../lab/machine-processes.ts';
import { PeerProcess } from '../peer-process.ts';

const run = promisify(execFile);
const bin = '/usr/lib/postgresql/15/bin';
const members = [1, 2, 3] as const;
const databases = [1, 2] as const;
type Database = (typeof databases)[number];

/**
 * Debian's Patroni with its defaults (ttl 30 s, loop_wait and retry_timeout 10 s) over PostgreSQL on machines 1 and 2, with etcd
 * (its defaults) on all three: it moves a database, and nothing else. Who writes sits on machine 3.
 */
export class Patroni {
  readonly #lan = new Lan(3, { prefix: `agp${process.pid}` });
  readonly #dir = mkdtempSync('/var/tmp/t-patroni-bench-');
  readonly #running: PeerProcess[] = [];
  #said: string[] = [];

  async begin(): Promise<void> {
    chmodSync(this.#dir, 0o755);
    for (const member of members) this.#etcd(member, 'new');
    await sleep(3000);
    for (const one of databases) this.#patroni(one);
    await this.well();
    await this.#sql(await this.primary(), 'create table written (at timestamptz)');
  }

  #start(machine: number, program: string, args: string[]): void {
    const heard = (line: string): void => {
      this.#said = [...this.#said.slice(-20), line];
    };
    this.#running.push(new PeerProcess(this.#lan.namespace(machine), program, args, heard));
  }

  #etcd(member: number, state: 'new' | 'existing'): void {
    const url = (one: number, port: number): string => `http://${this.#lan.address(one)}:${port}`;
    const flags = {
      ...{ name: `e${member}`, 'data-dir': join(this.#dir, `etcd-${member}`), 'initial-cluster-state': state },
      ...{ 'listen-peer-urls': url(member, 2380), 'initial-advertise-peer-urls': url(member, 2380) },
      ...{ 'listen-client-urls': url(member, 2379), 'advertise-client-urls': url(member, 2379) },
      'initial-cluster': members.map((one) => `e${one}=${url(one, 2380)}`).join(','),
    };
    this.#start(
      member,
      'etcd',
      Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`),
    );
  }

  #patroni(one: Database): void {
    const own = this.#lan.address(one);
    const home = join(this.#dir, `db-${one}`);
    mkdirSync(home, { recursive: true, mode: 0o700 });
    const file = join(home, 'patroni.yml');
    const who = (username: string) => ({ username, password: 'of-the-bench' });
    const config = {
      ...{ scope: 'bench', name: `p${one}` },
      restapi: { listen: `${own}:8008`, connect_address: `${own}:8008` },
      etcd3: { hosts: members.map((member) => `${this.#lan.address(member)}:2379`) },
      bootstrap: {
        dcs: { ttl: 30, loop_wait: 10, retry_timeout: 10, maximum_lag_on_failover: 1_048_576 },
        initdb: [{ encoding: 'UTF8' }, 'data-checksums'],
      },
      postgresql: {
        ...{ listen: `${own}:5432`, connect_address: `${own}:5432`, data_dir: join(home, 'data'), bin_dir: bin },
        authentication: { superuser: who('postgres'), replication: who('replicator') },
        pg_hba: ['host all all 0.0.0.0/0 trust', 'host replication replicator 0.0.0.0/0 trust'],
        parameters: { unix_socket_directories: home },
      },
    };
    writeFileSync(file, JSON.stringify(config));
    execFileSync('chown', ['postgres:postgres', home, file]);
    const as = ['--reuid=postgres', '--regid=postgres', '--init-groups', '--reset-env'];
    this.#start(one, 'setpriv', [...as, 'patroni', file]);
  }

  #sql(on: Database, text: string): Promise<string> {
    const at = `host=${this.#lan.address(on)} user=postgres dbname=postgres connect_timeout=2`;
    const words = [`--net=/var/run/netns/${this.#lan.namespace(3)}`, 'psql', '-XqAt', '-c', text, at];
    return run('nsenter', words, { timeout: 5000 }).then(({ stdout }) => stdout.trim());
  }

  async primary(): Promise<Database> {
    const asked = await Promise.all(
      databases.map((one) => this.#sql(one, 'select pg_is_in_recovery()').catch(() => 't')),
    );
    const found = databases.find((_, at) => asked[at] === 'f');
    if (found === undefined) throw new Error('no machine has the primary');
    return found;
  }

  /** One is the primary, and the other one follows it. */
  async well(): Promise<Database> {
    const look = async (): Promise<Database | null> => {
      const primary = await this.primary();
      const following = await this.#sql(primary, "select count(*) from pg_stat_replication where state='streaming'");
      return following === '1' ? primary : null;
    };
    return until('Patroni has a primary and one that follows it', look, 120_000).catch((error: Error) => {
      throw new Error(`${error.message}; it said ${this.#said.slice(-6).join(' | ')}`);
    });
  }

  /** The primary's machine loses its power; ms until a write is acknowledged, each of the two asked again and again. */
  async outage(withinMs = 120_000): Promise<number> {
    const primary = await this.well();
    const namespace = this.#lan.namespace(primary);
    await this.#sql(primary, 'insert into written values (now())');
    const began = performance.now();
    this.#lan.unplug(primary);
    await killAll(`machine ${primary}`, () => processesOf(namespace));
    let first: number | null = null;
    const asks = databases.map(async (one) => {
      while (first === null && performance.now() - began < withinMs) {
        const isIn = await this.#sql(one, 'insert into written values (now())').then(
          () => true,
          () => false,
        );
        if (isIn) first ??= performance.now() - began;
        else await sleep(20);
      }
    });
    await Promise.all(asks);
    if (first === null)
      throw new Error(`Patroni: no write within ${withinMs / 1000} s; it said ${this.#said.slice(-6).join(' | ')}`);
    this.#lan.plug(primary);
    this.#etcd(primary, 'existing');
    // What it had beyond the other one would have to be rewound: it begins anew, which is in no figure.
    rmSync(join(this.#dir, `db-${primary}`, 'data'), { recursive: true, force: true });
    this.#patroni(primary);
    await this.well();
    return first;
  }

  async end(): Promise<void> {
    for (const machine of members) await killAll(`machine ${machine}`, () => processesOf(this.#lan.namespace(machine)));
    this.#lan.down();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
