import { execFile, spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { connectGitlab, formMesh, pipelineEnd } from '../../e2e/mesh.ts';
import { Lan } from '../../e2e/namespaces.ts';
import { asRoot, Rig, sleep, type TestMachine } from '../../e2e/rig.ts';
import { makeCacheImage } from '../../root/test-image.ts';
import { type Row, ratioAtMost, row } from '../figures.ts';
import { narrow } from '../link.ts';
import type { JobsStage } from './jobs-stage.ts';
import { SectionTimes } from './section-time.ts';

const run = promisify(execFile);
/** 1 GiB in 40,000 files. */
const fileBytes = 26_844;
const inFolder = 100;

/** Makes the tree `deps` of so many bytes: text of random bytes, which packs to three quarters, in folders of 100 files. */
function making(bytes: number): string {
  const folders = Math.max(1, Math.round(bytes / fileBytes / inFolder));
  // Four letters of three bytes.
  const random = (fileBytes * inFolder * 3) / 4;
  const part = `split -a 3 -b ${fileBytes} - deps/$d/f`;
  return `for d in $(seq ${folders}); do mkdir -p deps/$d; head -c ${random} /dev/urandom | base64 -w 0 | ${part}; done`;
}
const shown = (bytes: number): string =>
  `${Math.round(bytes / 2 ** 20)} MiB in ${Math.max(1, Math.round(bytes / fileBytes / inFolder)) * inFolder} files`;

/** The same by tar and the packer that there is: seconds of unpacking and of packing anew, by its own clock. */
const plain = (tree: string): string =>
  [
    'set -e -o pipefail; cd /w',
    'if command -v zstd >/dev/null; then in="zstd -q -T1"; out="zstd -qdc"; else in="gzip -1"; out="gzip -dc"; fi',
    `if [ ! -e packed ]; then ${tree}; tar c deps | $in >packed; fi`,
    'rm -rf deps; s=$(date +%s%N); $out <packed | tar x; date >deps/changed; tar c deps | $in >next; e=$(date +%s%N)',
    'mv next packed; echo took $((e-s))',
  ].join('\n');

export async function cacheRow(stage: JobsStage, trials: number, bytes: number): Promise<Row[]> {
  const image = makeCacheImage();
  const tree = making(bytes);
  const project = await stage.project(
    'cache',
    [
      `job:\n  image: '${image}'\n  tags: [docker]\n  cache: { key: tree, paths: [deps/] }`,
      `  script: ['[ -d deps ] || (${tree})', 'date +%N >deps/changed']`,
    ].join('\n'),
    900_000,
  );
  const volume = `bench-cache-${process.pid}`;
  const ours: number[] = [];
  const others: number[] = [];
  try {
    const args = ['run', '--rm', '-v', `${volume}:/w`, image, 'bash', '-c', plain(tree)];
    const other = async (): Promise<number> =>
      Number(/took (\d+)/.exec((await run('docker', args, { maxBuffer: 1 << 20 })).stdout)?.[1]) / 1e9;
    await other();
    for (let trial = 0; trial < trials; trial++) {
      stage.sections.forget();
      const [job] = (await stage.again(project, 900_000)).jobs;
      const trace = await stage.gitlab.trace(project, job!.id);
      if (!trace.includes('Successfully extracted cache') || !trace.includes('Created cache'))
        throw new Error(`no cache was brought and kept: ${trace.slice(-800)}`);
      ours.push(stage.sections.take('restore_cache', 'archive_cache'));
      others.push(await other());
    }
  } finally {
    await run('docker', ['volume', 'rm', '-f', volume]).catch(() => undefined);
  }
  const note = `${shown(bytes)}, one of them changed; ours by the trace’s sections`;
  return [
    row({
      ...{ measure: 'cache: restore + save, docker', unit: 's', ours, note },
      against: { name: 'tar | zstd in a container', values: others },
      targets: [ratioAtMost(1.2)],
    }),
  ];
}

/** A server that gives that file once, and how to bring and unpack it: `net.connect | zstd | tar`. */
const serving = (file: string, port: number, address: string): string =>
  `require('node:net').createServer((s) => require('node:fs').createReadStream(${JSON.stringify(file)}, { highWaterMark: 1 << 20 }).pipe(s)).listen(${port}, '${address}')`;
const bringing = (port: number, address: string): string =>
  `require('node:net').connect(${port}, '${address}').pipe(process.stdout)`;

/** Two machines and GitLab on a LAN whose cables carry 1 Gbit/s; the second brings what the first has kept. */
export async function lanCacheRow(trials: number, bytes: number): Promise<Row[]> {
  const rig = new Rig();
  const lan = new Lan(2);
  const sections = new SectionTimes(rig.dir);
  const ours: number[] = [];
  const others: number[] = [];
  try {
    const gitlab = rig.practice(lan.namespace(1));
    await gitlab.start(lan.address(1));
    const machines = await formMesh(rig, ['kang', 'desktop-1'], {
      lan,
      args: { 'desktop-1': ['--executor', 'process', ...asRoot] },
      env: { 'desktop-1': sections.env },
    });
    const [kang] = machines as [TestMachine];
    await connectGitlab(kang, gitlab);
    narrow(lan, 2, 1000);
    const cache = 'cache: { key: tree, paths: [deps/]';
    const project = await gitlab.push('lan', {
      '.gitlab-ci.yml': [
        'stages: [one, two]',
        `keeps: { stage: one, tags: [node-kang], ${cache} }, script: ['[ -d deps ] || (${making(bytes)})', 'date +%N >deps/changed'] }`,
        `brings: { stage: two, tags: [node-desktop-1], ${cache}, policy: pull }, script: ['true'] }`,
      ].join('\n'),
    });
    const other = await PlainTcp.start(rig.dir, lan, making(bytes));
    try {
      for (let trial = 0; trial < trials; trial++) {
        if (trial > 0) {
          sections.forget();
          await gitlab.runPipeline(project);
        }
        await sleep(500);
        const { status, jobs } = await pipelineEnd(rig, project, 900_000);
        const job = jobs.find(({ name }) => name === 'brings')!;
        const traces = await Promise.all(jobs.map(({ id }) => gitlab.trace(project, id)));
        const trace = traces[jobs.indexOf(job)]!;
        if (status !== 'success' || !/Fetching it from kang[\s\S]*Successfully extracted cache/.test(trace))
          throw new Error(`nothing was brought: ${traces.map((one) => one.slice(-500)).join('; ')}`);
        ours.push(sections.take('restore_cache'));
        others.push(await other.once());
      }
    } finally {
      other.end();
    }
  } finally {
    await rig.clean();
    lan.down();
  }
  const note = `${shown(bytes)}; ours by the trace’s section, process executor; it proves what came before a tree is made of it`;
  return [
    row({
      ...{ measure: 'cache from a LAN node at 1 Gbit/s: fetched and unpacked', unit: 's', ours, note },
      against: { name: 'the same tar.zst over bare TCP into tar', values: others },
      targets: [ratioAtMost(1.2)],
    }),
  ];
}

class PlainTcp {
  readonly #folder: string;
  readonly #lan: Lan;
  readonly #server: ReturnType<typeof spawn>;

  private constructor(folder: string, lan: Lan, server: ReturnType<typeof spawn>) {
    [this.#folder, this.#lan, this.#server] = [folder, lan, server];
  }

  static async start(dir: string, lan: Lan, tree: string): Promise<PlainTcp> {
    const folder = join(dir, 'plain');
    mkdirSync(folder);
    await run('bash', ['-ec', `cd '${folder}'; ${tree}; tar c deps | zstd -q -T1 >packed; rm -rf deps`]);
    const inside = `--net=/var/run/netns/${lan.namespace(1)}`;
    const code = serving(join(folder, 'packed'), 7999, lan.address(1));
    return new PlainTcp(folder, lan, spawn('nsenter', [inside, process.execPath, '-e', code], { stdio: 'ignore' }));
  }

  /** Seconds. */
  async once(): Promise<number> {
    rmSync(join(this.#folder, 'deps'), { recursive: true, force: true });
    const client = `'${process.execPath}' -e "${bringing(7999, this.#lan.address(1)).replaceAll('"', '\\"')}"`;
    const inside = `--net=/var/run/netns/${this.#lan.namespace(2)}`;
    const script = `set -e -o pipefail; cd '${this.#folder}'; ${client} | zstd -qdc | tar x`;
    const began = performance.now();
    await run('nsenter', [inside, 'bash', '-c', script]);
    return (performance.now() - began) / 1000;
  }

  end(): void {
    this.#server.kill();
  }
}
