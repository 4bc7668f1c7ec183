import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { StatusSnapshot } from '../../../protocol/status.ts';
import { sleep, TestGitlab, until } from '../../e2e/rig.ts';
import { hand, standInImage } from '../../gitlab-image/stand-in-image.ts';
import type { Lab } from '../lab.ts';
import { insideOf } from '../lab-init.ts';
import type { LabMachine } from '../lab-machine.ts';
import { diskOf } from './lab-disks.ts';
import { lossOf, parse, readScript, rowsSql, type WholeData } from './whole-data.ts';

const run = promisify(execFile);
export const image = 'autogit-lab:gitlab';
const port = 8080;
const token = 'glpat-lab-hosting-0123456789';
const postgresUser = '996';

export interface Said {
  code: number;
  stdout: string;
  stderr: string;
}

export interface Pushed extends Said {
  commit: string;
  ms: number;
}

/** What GitLab of the lab is, wherever it is asked for. */
export const asLab = (at = port): string[] => [
  ...['--image', image, '--preset', 'minimal', '--port', String(at), '--ssh-port', '0'],
];

/** What a case finds that has to be otherwise. */
export class WrongHere extends Error {}

export function demand(is: boolean, sentence: string): void {
  if (!is) throw new WrongHere(sentence);
}

/** GitLab (the stand-in) on kang, deployed and used by the published program as people do it, and looked at by other means. */
export class HostedLab {
  readonly lab: Lab;
  readonly kang: LabMachine;
  /** A desk at which one pushes: in no machine's way. */
  readonly #desk: string;
  readonly gitlab: TestGitlab;
  /** Where it runs. */
  host: LabMachine;
  #place: string | null = null;
  recoveryKey: string | null = null;
  /** Commits whose push ended well: wherever GitLab goes on, they are there. */
  readonly #acknowledged: string[] = [];

  constructor(lab: Lab) {
    this.lab = lab;
    this.kang = lab.machine('kang');
    this.host = this.kang;
    const desk = join(this.kang.dir, '..', 'desk');
    mkdirSync(desk, { recursive: true });
    this.#desk = mkdtempSync(join(desk, 'user-'));
    this.gitlab = new TestGitlab('', this.kang.namespace);
    Object.assign(this.gitlab, { url: `http://${lab.lan.address(1)}:${port}`, token });
  }

  /** It runs there from now on, on the data in that folder. */
  runsOn(host: LabMachine, place: string): void {
    this.host = host;
    this.#place = place;
    this.gitlab.url = `http://${this.lab.lan.address(this.lab.number(host))}:${port}`;
  }

  /** The image in the engine of the machine that runs it, as quick as the stand-in can be. */
  async bringImage(): Promise<void> {
    const { host } = this.host.engine;
    const whole = await standInImage(host);
    const quick = ['STAND_IN_BOOT_SECONDS=1', 'STAND_IN_RECONFIGURE_SECONDS=0'];
    const made = this.docker('create', whole);
    this.docker('commit', ...quick.flatMap((one) => ['--change', `ENV ${one}`]), made, image);
    this.docker('rm', made);
  }

  /** So that GitLab can go on at any of them. */
  async bringImageToAll(): Promise<void> {
    for (const { engine } of this.lab.machines) await hand(image, engine.host, this.kang.engine.host);
  }

  /** GitLab's address at each machine, as people have it. */
  get doors(): string[] {
    return this.lab.machines.map((machine) => `http://${this.lab.lan.address(this.lab.number(machine))}:${port}`);
  }

  get place(): string {
    return this.#place ?? join(diskOf(this.kang), 'gitlab');
  }

  docker(...args: string[]): string {
    const { status, stdout, stderr } = this.host.engine.docker(args);
    if (status !== 0) throw new Error(`docker ${args.join(' ')}: ${stderr}`);
    return stdout.toString().trim();
  }

  container(): string {
    const all = this.docker('ps', '-q', '--no-trunc', '--filter', `ancestor=${image}`).split('\n').filter(Boolean);
    demand(all.length === 1, `${all.length} containers of GitLab run, and it has to be one`);
    return all[0] as string;
  }

  /** A command of `autogit-node`, as a person types it at that machine. */
  cli(machine: LabMachine, ...words: string[]): Promise<Said> {
    return machine.agent.cli(...words);
  }

  /** When its container was begun, as the engine says. */
  startedAt(): string {
    return this.docker('inspect', '-f', '{{.State.StartedAt}}', this.container());
  }

  async done(machine: LabMachine, ...words: string[]): Promise<Said> {
    const said = await this.cli(machine, ...words);
    demand(said.code === 0, `autogit-node ${words.join(' ')} on ${machine.name}: ${lastLine(said.stderr)}`);
    return said;
  }

  /** On kang, as somebody asks for it at that machine; `words`: its address, who holds copies. */
  deploy(
    machine: LabMachine,
    words = ['--hostname', this.lab.lan.address(1), '--copies', 'desktop-1,desktop-2'],
    at = port,
  ): Promise<Said> {
    const where = ['--data', this.place, '--on', 'kang'];
    return this.cli(machine, '--yes', '--json', 'gitlab', 'deploy', ...asLab(at), ...where, ...words);
  }

  /** An administrator's token for who pushes, as GitLab's manual makes one. */
  async signIn(): Promise<void> {
    const code = `t=User.find_by_username('root').personal_access_tokens.create(scopes:['api','admin_mode'],name:'lab',expires_at:365.days.from_now); t.set_token('${token}'); t.save!`;
    const [file, ...args] = ['docker', 'exec', this.container(), 'gitlab-rails', 'runner', code];
    await run(file as string, args, { env: { ...process.env, DOCKER_HOST: this.host.engine.host } });
    await this.served();
  }

  async isServed(): Promise<boolean> {
    const url = `${this.gitlab.url}/users/sign_in`;
    const ask = ['curl', '-s', '-o', '/dev/null', '-m', '1', '-w', '%{http_code}', url];
    return run('nsenter', [this.host.net, ...ask]).then(
      ({ stdout }) => stdout === '200',
      () => false,
    );
  }

  /** ms until GitLab serves. */
  async served(limitMs = 60_000): Promise<number> {
    const from = performance.now();
    await until('GitLab serves', () => this.isServed(), limitMs);
    return performance.now() - from;
  }

  async status(machine = this.host): Promise<StatusSnapshot['gitlab']> {
    return (await machine.status()).gitlab;
  }

  /** The state of GitLab in the words of `autogit-node gitlab` on that machine. */
  async words(machine = this.host): Promise<string> {
    const { stdout, stderr } = await this.cli(machine, 'gitlab');
    return /^state\t(.*)$/m.exec(stdout)?.[1] ?? lastLine(stderr);
  }

  /** What `autogit-node gitlab` says of copies, and what its machine's death would cost. */
  async loss(): Promise<string> {
    const { loss, standbys = [] } = await this.status();
    const of = standbys.map(({ node, state }) => `${node} ${state}`).join(', ');
    if (!loss) return `no meter; ${of}`;
    const rest = loss.seconds === null ? 'all else' : `${loss.seconds} s of all else`;
    return `if kang died: ${loss.pushes ? 'pushes lost' : 'no push lost'}, ${rest}; ${of}`;
  }

  /** Pushes a commit, made anew, from the machine that is named; returns when git has ended. */
  async push(project: string, from = 'desktop-2', limitSeconds = 60): Promise<Pushed> {
    const clone = join(this.#desk, project);
    const remote = `${this.gitlab.url.replace('//', `//root:${token}@`)}/root/${project}.git`;
    const git = async (...args: string[]): Promise<string> => {
      const { net } = this.lab.machine(from);
      const who = ['-c', 'user.name=lab', '-c', 'user.email=lab@localhost'];
      const { stdout, stderr } = await run('nsenter', [net, 'timeout', String(limitSeconds), 'git', ...who, ...args]);
      return `${stdout}${stderr}`;
    };
    if (!existsSync(clone)) await git('clone', '-q', remote, clone);
    await git('-C', clone, 'commit', '-q', '--allow-empty', '-m', 'in the lab');
    const commit = (await git('-C', clone, 'rev-parse', 'HEAD')).trim();
    const began = performance.now();
    const told = await git('-C', clone, 'push', '-q', 'origin', 'HEAD:main').then(
      (stderr) => ({ code: 0, stdout: '', stderr }),
      (error: Said) => error,
    );
    if (told.code === 0) this.#acknowledged.push(commit);
    return { ...told, commit, ms: performance.now() - began };
  }

  /** Runs a script inside a machine, with its mounts. */
  async inside(machine: LabMachine, script: string, ...args: string[]): Promise<string> {
    const [file, ...all] = insideOf(machine.namespace, ['sh', '-c', script, 'lab', ...args]);
    return (await run(file, all, { maxBuffer: 1 << 26 })).stdout;
  }

  /** All that GitLab holds now. */
  async whole(): Promise<WholeData & { epoch: number }> {
    const tree = await this.#treeAt(this.host, this.place);
    const told = await this.inside(this.host, readScript, join(tree, 'live'), join(tree, 'bulk'));
    const env = { ...process.env, DOCKER_HOST: this.host.engine.host };
    const psql = ['exec', this.container(), 'gitlab-psql', '-qAtc', rowsSql];
    const data = parse(told, (await run('docker', psql, { env, maxBuffer: 1 << 26 })).stdout);
    const counts = `${data.refs.size} refs, ${data.rows?.size} rows, ${data.files.size} files`;
    demand(data.refs.size > 0 && (data.rows?.size ?? 0) > 0 && data.files.size > 1, `too little to compare: ${counts}`);
    return { ...data, epoch: (await this.status()).epoch };
  }

  /** Where a place of GitLab's data has them: mounted where they are in an image. */
  async #treeAt(machine: LabMachine, place: string): Promise<string> {
    const script = 'if [ -e "$1/gitlab.img" ]; then echo "$1/mounted"; else echo "$1"; fi';
    return (await this.inside(machine, script, place)).trim();
  }

  /** The folder of the copies that a machine holds. */
  async copiesFolder(machine: LabMachine): Promise<string> {
    const found = (await this.inside(machine, 'cd "$1"; ls -d */', diskOf(machine))).trim().split('\n');
    demand(found.length === 1 && found[0] !== '', `${machine.name} holds copies of ${found.length} GitLabs`);
    return join(diskOf(machine), found[0] as string);
  }

  /** All that the newest round holds on another machine, its database started there and asked, the files of its newest bulk round. */
  async copied(machine: LabMachine): Promise<WholeData> {
    const tree = await this.#treeAt(machine, await this.copiesFolder(machine));
    const script = `set -eu; cd "$1/copies"
newest() { ls "$1/markers" | sed -n 's/[.]json$//p' | sort -V | tail -1; }
btrfs subvolume snapshot "hot/rounds/$(newest hot)/hot" lab-look >&2
echo "$1/copies/bulk/rounds/$(newest bulk)/bulk"`;
    const bulk = (await this.inside(machine, script, tree)).trim();
    const look = join(tree, 'copies', 'lab-look');
    try {
      const told = await this.inside(machine, readScript, look, bulk);
      return parse(told, await this.#rowsOf(machine, look));
    } finally {
      await this.inside(machine, 'btrfs subvolume delete "$1" >/dev/null', look);
    }
  }

  /** PostgreSQL recovers in that folder, which is written to, by Debian's own of the same version. */
  #rowsOf(machine: LabMachine, look: string): Promise<string> {
    const script = `set -eu; at=$(mktemp -d); chmod 755 "$at"; mkdir "$at/data" "$at/socket"; chown ${postgresUser} "$at/socket"
mount --bind "$1" "$at/data"
as() { setpriv --reuid=${postgresUser} --regid=${postgresUser} --clear-groups "$@"; }
bin=/usr/lib/postgresql/15/bin; own="$at/data/data/postgresql/data"; rm -f "$own/postmaster.pid"
trap 'as $bin/pg_ctl -D "$own" -m immediate stop >/dev/null 2>&1; umount "$at/data"; rm -rf "$at"' EXIT
as $bin/pg_ctl -D "$own" -w -t 60 -l "$at/socket/log" -o "-c listen_addresses= -c unix_socket_directories=$at/socket" start >&2 || { cat "$at/socket/log" >&2; exit 1; }
as psql -XqAt -h "$at/socket" -U gitlab -d gitlabhq_production -c "$2"`;
    return this.inside(machine, script, look, rowsSql);
  }

  /** Rounds that the host keeps of itself. */
  async rounds(): Promise<string[]> {
    const list = 'ls "$1/mounted/copies/hot/rounds"';
    return (await this.inside(this.kang, list, this.place)).trim().split('\n').filter(Boolean);
  }

  /** A backup as restic alone reads it, each byte of the repository looked at first. */
  async restored(target: string, id: string): Promise<WholeData> {
    demand(this.recoveryKey !== null, 'no recovery key was shown');
    const script = `set -eu; export RESTIC_REPOSITORY="$1" RESTIC_PASSWORD_FILE=/dev/fd/3
out=$(mktemp -d -p "$4"); restic --no-cache check --read-data 3<"$3" >&2
restic --no-cache restore "$2" --target "$out" 3<"$3" >&2; echo "$out"`;
    const key = join(this.#desk, 'key');
    writeFileSync(key, `${this.recoveryKey}\n`, { mode: 0o600 });
    const out = (await this.inside(this.kang, script, target, id, key, this.#desk)).trim();
    try {
      const told = await this.inside(this.kang, readScript, join(out, 'live'), join(out, 'bulk'));
      return parse(told, await this.#rowsOf(this.kang, join(out, 'live')));
    } finally {
      rmSync(out, { recursive: true, force: true });
    }
  }

  /** Fails where anything of before, or of what was acknowledged, is not there. */
  compare(before: WholeData, after: WholeData, where: string, acknowledged: readonly string[] = []): void {
    const { refs, rows, files } = lossOf(before, after);
    const commits = new Set([...after.commits].map((one) => one.split(' ')[1]));
    const pushes = acknowledged.filter((commit) => !commits.has(commit));
    const named = Object.entries({ push: pushes, ref: refs, row: rows, file: files });
    const lost = named.flatMap(([kind, all]) => all.map((one) => `${kind} ${one}`));
    demand(lost.length === 0, `${where} lacks ${lost.length}: ${lost.slice(0, 5).join(', ')}`);
  }

  /** Fails where anything of before is not there: where it runs, and where others hold copies, there. */
  async nothingLost(before: WholeData, others: readonly LabMachine[] = []): Promise<string> {
    this.compare(before, await this.whole(), this.host.name, this.#acknowledged);
    for (const machine of others) this.compare(before, await this.copied(machine), machine.name, this.#acknowledged);
    const where = [this.host.name, ...others.map(({ name }) => name)].join(', ');
    const { refs, rows, files } = before;
    return `${refs.size} refs, ${rows?.size} rows, ${files.size} files and ${this.#acknowledged.length} pushes compared on ${where}: none lost`;
  }

  /** Pushes until these machines are in sync: each push is a round, so that twelve of them are not a minute. */
  async inSync(names: readonly string[], limitMs = 90_000): Promise<number> {
    const from = performance.now();
    await until(
      `${names.join(', ')} in sync`,
      async () => {
        const { standbys = [] } = await this.status();
        const missing = names.filter((name) => !standbys.some((row) => row.node === name && row.inSync));
        if (missing.length > 0) await this.push('rounds').catch(() => sleep(300));
        return missing.length === 0;
      },
      limitMs,
    );
    return performance.now() - from;
  }

  remove(): void {
    rmSync(this.#desk, { recursive: true, force: true });
  }
}

/** The last sentence that a person reads, with its fix where there is one. */
export function lastLine(text: string): string {
  const lines = text.trim().split('\n').slice(-2);
  const [before = '', last = ''] = lines.length < 2 ? ['', ...lines] : lines;
  return [/^\s*fix:/.test(last) ? before : '', last]
    .map((line) => line.trim())
    .filter(Boolean)
    .join(' -> ');
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
