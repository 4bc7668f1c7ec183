import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LoopImage } from '../../../node/hosting/loop-image.ts';
import { systemTools } from '../../../node/hosting/system-tools.ts';
import { formMesh } from '../../e2e/mesh.ts';
import { Lan } from '../../e2e/namespaces.ts';
import { asRoot, Rig, until } from '../../e2e/rig.ts';
import { standInImage } from '../../gitlab-image/stand-in-image.ts';
import { OwnEngine } from '../../root/own-engine.ts';
import { type Agent, asAgent } from '../agents.ts';
import { install } from '../debian.ts';
import { sentBytes } from '../link.ts';
import { randomFile } from './random-file.ts';
import { took } from './stand.ts';

const names = ['kang', 'desktop-1', 'desktop-2'];
const image = 'autogit-bench:gitlab';
const limitMs = 240_000;

/** Three agents of the published program in namespaces of their own, and a GitLab (the stand-in) that the first of them hosts. */
export class HostedStage {
  readonly lan = new Lan(names.length);
  readonly #folder = mkdtempSync('/var/tmp/autogit-bench-protect-');
  readonly #rig = new Rig();
  readonly #engine = new OwnEngine('/var/tmp', this.lan.namespace(1));
  agents: Agent[] = [];

  async start(): Promise<void> {
    install({ 'mkfs.btrfs': 'btrfs-progs', nft: 'nftables' });
    await this.#engine.begin();
    const standIn = await standInImage(this.#engine.host);
    const boot = ['STAND_IN_BOOT_SECONDS=1', 'STAND_IN_RECONFIGURE_SECONDS=0'];
    const made = this.#engine.docker('create', standIn).trim();
    this.#engine.docker('commit', ...boot.flatMap((one) => ['--change', `ENV ${one}`]), made, image);
    this.#engine.docker('rm', made);
    const args = { kang: ['--executor', 'process', ...asRoot, '--docker-host', this.#engine.host] };
    const machines = await formMesh(this.#rig, names, { lan: this.lan, args });
    this.agents = machines.map((machine, index) => asAgent(machine, index + 1));
    const where = ['--image', image, '--preset', 'minimal', '--ssh-port', '0', '--data', this.#place];
    await this.#cli('--yes', 'gitlab', 'deploy', ...where, '--hostname', this.lan.address(1), '--copies', 'none');
  }

  get #place(): string {
    return join(this.#folder, 'place');
  }

  /** In the part that no push waits for. */
  async fill(bytes: number): Promise<void> {
    await randomFile(join(this.#place, 'mounted', 'bulk', 'artifacts.bin'), bytes);
    execFileSync('sync', ['-f', join(this.#place, 'mounted')]);
  }

  /** Bare ones as Gitaly keeps them, each with a commit of a file that cannot be compressed. */
  async addRepositories(count: number, bytes: number): Promise<void> {
    const file = join(this.#folder, 'blob');
    const under = join(this.#place, 'mounted', 'live', 'data', 'git-data', 'repositories', '@hashed', 'be', 'nc');
    for (let at = 0; at < count; at++) {
      await randomFile(file, Math.floor(bytes / count));
      const repository = join(under, `bench-${at}.git`);
      const git = `git -c safe.directory='*' --git-dir '${repository}'`;
      const lines = [
        `git init -q --bare '${repository}'`,
        `blob=$(${git} hash-object -w '${file}')`,
        `tree=$(printf '100644 blob %s\\tblob\\n' $blob | ${git} mktree)`,
        `commit=$(${git} -c user.name=t -c user.email=t@localhost commit-tree -m bench $tree)`,
        `${git} update-ref refs/heads/main $commit`,
        `chown -R 998:998 '${repository}'`,
      ];
      execFileSync('bash', ['-ec', lines.join('\n')]);
    }
    execFileSync('chown', ['998:998', join(under, '..'), under]);
  }

  /** What each of its steps took, ms. */
  async drill(): Promise<{ step: string; ms: number }[]> {
    const said = await this.#cli('--json', 'gitlab', 'drill', '--on', 'kang');
    return (JSON.parse(said) as { steps: { step: string; ms: number }[] }).steps;
  }

  /** bytes a second of the host's cable while a whole copy goes to a machine that has none, without its first and last twentieth. */
  async wholeCopy(node: string, bytes: number): Promise<number> {
    const from = sentBytes(this.lan, 1);
    await this.#cli('--yes', 'gitlab', 'copies', 'add', node);
    const marks: { at: number; bytes: number }[] = [];
    await until(
      `a whole copy is on ${node}`,
      () => {
        marks.push({ at: performance.now(), bytes: sentBytes(this.lan, 1) - from });
        return this.#bulkRounds(node) > 0;
      },
      limitMs,
    );
    const [first, last] = [0.05, 0.95].map((share) => marks.find((mark) => mark.bytes >= share * bytes));
    if (!first || !last || first === last) throw new Error(`${bytes} bytes were copied within one look`);
    return ((last.bytes - first.bytes) / (last.at - first.at)) * 1000;
  }

  /** bytes a second of the same by btrfs' own programs alone, into a new image where that machine's lie: no connection, no agent. */
  async bareCopy(node: string, bytes: number): Promise<number> {
    const home = join(this.#machine(node).machine.home, 'bench-bare');
    mkdirSync(home);
    const tree = join(this.#place, 'mounted');
    const snapshot = join(tree, 'bench-bare');
    const image = await LoopImage.create(join(home, 'bare.img'), Math.round(1.3 * bytes) + (256 << 20), systemTools);
    await image.attach(join(home, 'mounted'), 'standby');
    try {
      took(`btrfs subvolume snapshot -r '${join(tree, 'bulk')}' '${snapshot}'; sync -f '${tree}'`);
      const ms = took(`btrfs send -q --proto 2 '${snapshot}' | btrfs receive -q '${join(home, 'mounted')}'`);
      return (bytes / ms) * 1000;
    } finally {
      took(`if [ -e '${snapshot}' ]; then btrfs subvolume delete --commit-after '${snapshot}'; fi`);
      await image.detach();
      rmSync(home, { recursive: true });
    }
  }

  /** And what it holds is deleted. */
  async noCopy(node: string): Promise<void> {
    await this.#cli('--yes', 'gitlab', 'copies', 'remove', node);
    await until(`no copy is on ${node}`, () => this.#copiesOn(node).length === 0, limitMs);
  }

  #copiesOn(node: string): string[] {
    const folder = join(this.#machine(node).machine.home, 'gitlab-copies');
    if (!existsSync(folder)) return [];
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [join(folder, entry.name)] : [],
    );
  }

  #bulkRounds(node: string): number {
    const [at] = this.#copiesOn(node);
    const markers = at === undefined ? null : join(at, 'mounted', 'copies', 'bulk', 'markers');
    if (markers === null || !existsSync(markers)) return 0;
    return readdirSync(markers).filter((file) => file.endsWith('.json')).length;
  }

  #machine(name: string): Agent {
    const found = this.agents.find(({ machine }) => machine.name === name);
    if (!found) throw new Error(`no machine ${name}`);
    return found;
  }

  async #cli(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#machine('kang').machine.cli(...args);
    if (code !== 0) throw new Error(`autogit-node ${args.join(' ')}: ${stderr}`);
    return stdout;
  }

  async stop(): Promise<void> {
    await this.#rig.machines[0]?.cli('--yes', 'gitlab', 'uninstall', '--delete-data', '--now', '--force');
    await sleep(1000);
    for (const { machine } of this.agents) await machine.kill('SIGTERM').catch(() => undefined);
    for (const { machine } of this.agents) unmountBelow(machine.home);
    unmountBelow(this.#folder);
    await this.#rig.clean();
    await this.#engine.end();
    this.lan.down();
    execFileSync('sh', ['-c', `chattr -R -i '${this.#folder}' 2>/dev/null; true`]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** An agent that ends leaves its images mounted: GitLab goes on without it. */
function unmountBelow(folder: string): void {
  const points = execFileSync('findmnt', ['-rno', 'TARGET'], { encoding: 'utf8' }).split('\n');
  for (const point of points.filter((one) => one.startsWith(`${folder}/`)).reverse())
    execFileSync('umount', ['-l', point]);
  const lines = execFileSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], { encoding: 'utf8' });
  for (const line of lines.split('\n')) {
    const [device, file] = line.trim().split(/\s+/);
    if (device && file?.startsWith(`${folder}/`)) execFileSync('losetup', ['--detach', device]);
  }
  execFileSync('sh', ['-c', `chattr -R -i '${folder}' 2>/dev/null; true`]);
}
