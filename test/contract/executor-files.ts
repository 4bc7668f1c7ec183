import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { openPromise } from 'yauzl';
import { JobArtifact } from '../../gitlab-bridge/payload.ts';
import { bytesOf, plainName } from '../../node/executors/byte-names.ts';
import { madeEntry, noBody, readTar, type TarEntry, writeTar } from '../../node/executors/tar-format.ts';
import type { Executor, Workspace } from '../../node/ports.ts';
import { zipToTar } from '../../node/runs/artifact-down.ts';
import { collectArtifact } from '../../node/runs/artifact-up.ts';
import { tarFolder } from '../../node/runs/tar-folder.ts';
import { Chance } from '../sim/chance.ts';
import { executorOf } from './executor-child.ts';
import type { ContractPlan } from './executor-contract.ts';
import { allOf, entriesOf, never, runStep, specOf, tarOf, textsOf } from './executor-steps.ts';

/** Files go into a job and come out of it byte for byte, names and all, in every executor. */
let counter = 0;

export function filesContract(name: string, contract: ContractPlan): void {
  describe(`files of a job: ${name}`, () => {
    let executor: Executor | null = null;
    const scratch = mkdtempSync(join(tmpdir(), 'autogit-files-'));
    afterAll(async () => {
      await executor?.sweep(new Set());
      rmSync(scratch, { recursive: true, force: true });
    });

    const within = async (work: (workspace: Workspace) => Promise<void>): Promise<void> => {
      const plan = contract();
      executor ??= executorOf(plan);
      const workspace = await executor.prepare(specOf(`f${process.pid}-${++counter}`, plan.image), never);
      try {
        await work(workspace);
      } finally {
        await workspace.remove();
      }
    };

    it('a source that breaks between two files is never a shorter tree, and its cause is said', () =>
      within(async (workspace) => {
        async function* broken(): AsyncGenerator<TarEntry> {
          yield madeEntry('first', { content: '1' });
          throw new Error('the disk said no');
        }
        await expect(workspace.putTar('.', Readable.from(writeTar(broken())))).rejects.toThrow(/the disk said no/);
        await expect(workspace.putTar('.', Readable.from([Buffer.alloc(700, 'x')]))).rejects.toThrow(/files/);
        await workspace.putTar('.', tarOf({ after: 'fine' }));
        expect((await runStep(workspace, 0, 'cat after')).text).toBe('fine');
      }));

    it('sources keep names and link targets of any bytes', () =>
      within(async (workspace) => {
        const folder = join(scratch, `tree-${counter}`);
        mkdirSync(folder);
        const names = ['lat\xe9n', 'back\\slash', 'new\nline', '-dash', `${'n'.repeat(239)}\xff`, 'zz-last'];
        for (const each of names) writeFileSync(Buffer.concat([bytesOf(`${folder}/`), bytesOf(each)]), each, 'latin1');
        symlinkSync(bytesOf('lat\xe9n'), join(folder, 'link'));
        await workspace.putTar('.', tarFolder(folder));
        const { text } = await runStep(
          workspace,
          0,
          'cat zz-last "$(printf "lat\\351n")" link; echo; set -- *; echo $#; stat -c %a -- -dash',
        );
        expect(Buffer.from(text.slice(0, 7))).toEqual(Buffer.from('zz-last'));
        expect(text.split('\n').slice(1)).toEqual(['7', '644', '']);
        const found = new Map<string, string>();
        for await (const entry of entriesOf(workspace, '.')) {
          let body = entry.linkname;
          for await (const chunk of entry.kind === 'file' ? entry.body : noBody)
            body += Buffer.from(chunk).toString('latin1');
          found.set(entry.name, body);
        }
        expect([...found].sort()).toEqual([...names.map((each) => [each, each]), ['link', 'lat\xe9n']].sort());
      }));

    it('a tree of hard names, links and modes goes through sources, artifact and download byte for byte', () =>
      within((first) =>
        within(async (second) => {
          const chance = new Chance(42);
          await first.putTar('.', tarFolder(hardTree(join(scratch, `hard-${counter}`), chance)));
          const made = await runStep(first, 0, ...hardLines);
          expect(made.end, made.text).toEqual({ kind: 'exited', exitCode: 0 });
          const before = await stateOf(first);
          expect(before.size).toBeGreaterThan(2000);
          const file = join(scratch, `zip-${counter}`);
          const wanted = { paths: ['**', '**/*.none'], exclude: ['out/not.tmp', 'out/keep'], artifact_format: 'zip' };
          const packed = await collectArtifact(first, JobArtifact.parse(wanted), file, {
            limitBytes: 1 << 30,
            signal: never,
          });
          const said = packed.said.map(({ text }) => text).join('\n');
          if (before.has('out/pipe')) expect(said).toContain('out/pipe: is a named pipe, left out');
          expect(said).toContain('**/*.none: no matching files');
          expect(said).not.toContain('cannot be read');
          const zip = await openPromise(file, { autoClose: false, lazyEntries: true, decodeStrings: false });
          const lost: string[] = [];
          await second.putTar(
            '.',
            zipToTar(zip, (sentence) => lost.push(sentence)),
          );
          expect(lost).toEqual([]);
          const after = await stateOf(second);
          // Excludes are not recursive: out/keep itself is no entry, what is in it is.
          expect(after.get('out/keep/it')).toBe(before.get('out/keep/it'));
          for (const name of ['out/pipe', 'out/not.tmp', 'out/keep']) {
            before.delete(name);
            after.delete(name);
          }
          expect([...after].sort()).toEqual([...before].sort());
          expect(after.get('out/myapp')).toBe(after.get('out/deps/myapp-1f3'));
          expect(after.get('out/abs')).toMatch(/^symlink .* \/usr\/bin\/python3$/);
        }),
      ));

    it('of hard links each name arrives, whichever of them are asked for, in every format', () =>
      within(async (workspace) => {
        await runStep(workspace, 0, 'mkdir -p a b', 'echo bin >a/one', 'ln a/one b/two', 'ln a/one b/three');
        for (const format of ['zip', 'gzip', 'raw']) {
          const file = join(scratch, `hard-${counter}`);
          // As raw it is one file alone.
          const paths = format === 'raw' ? ['b/three'] : ['b/*'];
          const artifact = JobArtifact.parse({ paths, exclude: [], artifact_format: format });
          await collectArtifact(workspace, artifact, file, { limitBytes: 1 << 20, signal: never });
          const bytes = readFileSync(file);
          if (format === 'raw') expect(bytes.toString()).toBe('bin\n');
          if (format === 'gzip') expect(gunzipSync(bytes).toString()).toBe('bin\nbin\n');
          if (format === 'zip') {
            const zip = await openPromise(file, { autoClose: false, lazyEntries: true, decodeStrings: false });
            expect(await textsOf(readTar(zipToTar(zip)))).toEqual({ 'b/two': 'bin\n', 'b/three': 'bin\n' });
          }
        }
      }));

    it('a sparse file of a TB is refused by its size, and costs nothing beside what is asked for', () =>
      within(async (workspace) => {
        await runStep(workspace, 0, 'dd if=/dev/zero of=big.bin bs=1048576 count=0 seek=1048576', 'echo log >a.log');
        const file = join(scratch, `big-${counter}`);
        const limits = { limitBytes: 1 << 20, signal: never };
        const began = performance.now();
        const artifact = (paths: string[]) => JobArtifact.parse({ paths, exclude: [], artifact_format: 'zip' });
        await expect(collectArtifact(workspace, artifact(['*']), file, limits)).rejects.toThrow(/larger than 1 MiB/);
        const { upload } = await collectArtifact(workspace, artifact(['**/*.log']), file, limits);
        expect(upload?.lengthBytes).toBeLessThan(1000);
        expect(performance.now() - began).toBeLessThan(10_000);
      }));
  });
}

/** What a repository can hold. */
function hardTree(folder: string, chance: Chance): string {
  mkdirSync(folder);
  const pieces = ['a', '-', '\\', '\n', ' ', '*', '\xff', '\xe9', "'", '"', '%', '~', '\t', '\x01', ...'xyz'];
  const names = new Set<string>([
    '-rf',
    '--help',
    'back\\slash',
    'new\nline',
    'n'.repeat(240),
    `${'\xff'.repeat(240)}`,
  ]);
  while (names.size < 60)
    names.add(`h${Array.from({ length: 1 + chance.below(12) }, () => pieces[chance.below(pieces.length)]).join('')}`);
  const write = (path: string, content: Buffer, mode: number): void =>
    writeFileSync(bytesOf(`${folder}/${path}`), content, { mode });
  for (const name of names) write(name, bytesOf(`content of ${name}`), chance.maybe(0.5) ? 0o755 : 0o644);
  const deep = Array.from({ length: 12 }, () => 'deep folder').join('/');
  mkdirSync(join(folder, deep), { recursive: true });
  mkdirSync(join(folder, 'many'));
  write(`${deep}/${'\xe9'.repeat(200)}`, Buffer.from('deep'), 0o644);
  symlinkSync(bytesOf('lat\xe9n'), bytesOf(`${folder}/${'l'.repeat(100)}\xff`));
  for (let index = 0; index < 2000; index++) write(`many/${index}`, Buffer.alloc(chance.below(300), `${index}`), 0o644);
  return folder;
}

/** What a job can make beside that, in the least of shells. */
const hardLines = [
  'mkdir -p out/deps out/empty out/keep',
  'echo binary >out/deps/myapp-1f3; ln out/deps/myapp-1f3 out/myapp; ln out/myapp "out/$(printf "h\\351")"',
  'head -c 3000000 /dev/urandom >out/large; dd if=/dev/zero of=out/sparse bs=1048576 count=0 seek=20; ln out/large out/zlarge',
  'echo x >out/group; chmod 664 out/group; echo y >out/run; chmod 751 out/run; chmod 700 out/empty; : >out/nothing',
  'ln -s /usr/bin/python3 out/abs; ln -s no/where out/dangling; ln -s ../../../up out/leaving; ln -s out here',
  'ln -s abs out/chain; ln -s . out/self; (mkfifo out/pipe || true); echo t >out/not.tmp; echo k >out/keep/it; echo k >out/keep/two',
];

/** Everything of a tree: kind, mode, and a digest of what is in it. */
async function stateOf(workspace: Workspace): Promise<Map<string, string>> {
  const names = await allOf((await workspace.listFiles(['.'])).bytes);
  const state = new Map<string, string>();
  const { bytes } = await workspace.readFiles(names, ['.']);
  for await (const entry of readTar(bytes)) {
    const name = plainName(entry.name);
    if (name === '' || state.has(name)) continue;
    if (entry.kind === 'link') {
      state.set(name, state.get(plainName(entry.linkname)) ?? 'lost');
      continue;
    }
    const hash = createHash('sha1');
    for await (const chunk of entry.body) hash.update(chunk);
    const mode = entry.kind === 'symlink' ? '' : entry.mode.toString(8);
    state.set(name, `${entry.kind} ${mode} ${hash.digest('hex')} ${entry.linkname}`);
  }
  return state;
}
