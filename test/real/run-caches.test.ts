import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import zlib from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { plainText, RunLab, until } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());

const cacheFiles = (): string[] => {
  const top = join(lab.home, 'caches');
  return readdirSync(top)
    .filter((name) => name !== 'incoming')
    .flatMap((owner) => readdirSync(join(top, owner)).map((name) => join(top, owner, name)));
};

/** Runs the pipeline's jobs to their ends, one after the other; their traces by name. */
async function runAll(count: number): Promise<Map<string, { text: string; state: string | undefined }>> {
  const all = new Map<string, { text: string; state: string | undefined }>();
  for (let index = 0; index < count; index++) {
    const run = await lab.ended(await lab.begin());
    all.set(run.name, { text: plainText(await lab.traceAt(run)), state: run.result?.state });
  }
  return all;
}

const first = `
stages: [one, two, three]
variables: { WHAT: deps }
make:
  stage: one
  cache: { key: "$WHAT-1", paths: [deps/, "*.lock"] }
  script:
    - test ! -e deps
    - mkdir -p deps/sub deps/empty; echo body > deps/sub/file; chmod 755 deps/sub/file; ln deps/sub/file deps/hard
    - ln -s sub/file deps/soft; printf x > "deps/$(printf 'odd\\377name\\n')"; touch -d '2001-02-03T04:05:06Z' deps/sub/file
    - echo lock > a.lock; echo no > other
  artifacts: { paths: [other] }
  after_script: ["echo late > deps/late"]
use:
  stage: two
  cache: { key: "$WHAT-1", paths: [deps/, "*.lock"] }
  script:
    - cat deps/sub/file deps/soft deps/late a.lock; test -x deps/sub/file; test -d deps/empty
    - test "$(stat -c %h deps/hard)" = 2; stat -c %Y deps/sub/file; ls -b deps
    - test "$(cat other)" = no
pulls:
  stage: three
  cache: { key: "$WHAT-1", paths: [deps], policy: pull }
  script: ["rm -r deps"]
`;

describe('a cache', () => {
  it('is kept after after_script, and brought after the sources, byte for byte', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': first });
    await lab.agent();
    const all = await runAll(3);
    const make = all.get('make');
    expect(make?.state, make?.text).toBe('success');
    expect(make?.text).toMatch(
      /Restoring cache\nChecking cache for deps-1-protected\.\.\.\nWARNING: Cache file does not exist\nWARNING: Failed to extract cache\n/,
    );
    expect(make?.text).toMatch(
      /Running after_script[\s\S]*Saving cache for successful job\nCreating cache deps-1-protected\.\.\.\ndeps\/: found 8 matching artifact files and directories\n\*\.lock: found 1 matching artifact files and directories\n9 files, .* kept on kang\nCreated cache\nUploading artifacts/,
    );
    const use = all.get('use');
    expect(use?.state, use?.text).toBe('success');
    expect(use?.text).toMatch(/Restoring cache[\s\S]*Successfully extracted cache\nDownloading artifacts\n/);
    expect(use?.text).toContain('\nbody\nbody\nlate\nlock\n');
    expect(use?.text).toContain(`\n${Date.UTC(2001, 1, 3, 4, 5, 6) / 1000}\n`);
    expect(use?.text).toContain('odd\\377name\n');
    expect(use?.text).toContain('Archive is up to date!\nCreated cache\n');
    expect(all.get('pulls')?.text).toContain('Not uploading cache deps-1-protected due to policy\n');
    expect(cacheFiles()).toHaveLength(1);
    expect(statSync(cacheFiles()[0] as string).mode & 0o777).toBe(0o600);
  });
});

const second = `
stages: [one, two, three]
fails:
  stage: one
  allow_failure: true
  cache:
    - { key: always, paths: [w], when: always }
    - { key: failed, paths: [w], when: on_failure }
    - { key: succeeded, paths: [w] }
  script: ["echo of fails > w; exit 3"]
falls:
  stage: two
  cache:
    - { key: none, paths: [w], fallback_keys: [nothing, failed] }
    - { key: succeeded, paths: [w], policy: pull }
    - { key: onlypush, paths: [v], policy: push }
  script: ["cat w; echo v > v"]
guards:
  stage: two
  cache: { key: none2, paths: [w] }
  variables: { CACHE_FALLBACK_KEY: always-protected }
  script: ["test ! -e w; test ! -e v"]
free:
  stage: two
  allow_failure: true
  cache: { key: files, paths: [w], unprotect: true }
  variables: { CACHE_FALLBACK_KEY: always-protected/, FF_HASH_CACHE_KEYS: "1" }
  script: ["echo free; cat w"]
nothing:
  stage: two
  cache: { key: empty, paths: [none/] }
  script: ["true"]
odd:
  stage: two
  allow_failure: true
  variables: { P: fetch }
  cache: { key: odd, paths: [w], policy: $P }
  script: ["echo never"]
loose:
  stage: two
  cache: { key: { files: [a.lock, "sub/*.lock"], prefix: v1 }, untracked: true }
  variables: { CACHE_COMPRESSION_FORMAT: tarzstd, CACHE_COMPRESSION_LEVEL: slowest }
  script: ["echo new > new; echo changed > kept.txt; echo '*.o' > .gitignore; echo o > x.o"]
tight:
  stage: three
  cache: { key: { files: [a.lock, "sub/*.lock"], prefix: v1 }, untracked: true, policy: pull }
  script: ["cat new x.o kept.txt"]
`;

it('by policy, by how the job ended, by fallback, and apart for protected branches', async () => {
  lab = await RunLab.start({
    ...{ '.gitlab-ci.yml': second, 'a.lock': 'one', 'sub/b.lock': 'two', 'kept.txt': 'kept' },
  });
  await lab.agent();
  const all = await runAll(8);
  const text = (name: string): string => all.get(name)?.text ?? '';
  expect(text('fails')).toContain('Saving cache for failed job\nCreating cache always-protected...\n');
  expect(text('fails')).toContain('Creating cache failed-protected...\n');
  expect(text('fails')).not.toContain('Creating cache succeeded');
  expect(all.get('falls')?.state, text('falls')).toBe('success');
  expect(text('falls')).toMatch(
    /Checking cache for none-protected[\s\S]*Checking cache for nothing-protected[\s\S]*Checking cache for failed-protected\.\.\.\n1 file,/,
  );
  expect(text('falls')).toContain('Not downloading cache onlypush-protected due to policy\n');
  expect(text('falls')).toContain('\nof fails\n');
  expect(text('falls')).toContain('Not uploading cache succeeded-protected due to policy\n');
  expect(text('guards')).toContain('CACHE_FALLBACK_KEY "always-protected" not allowed to end in "-protected"\n');
  expect(all.get('guards')?.state, text('guards')).toBe('success');
  // Without the suffix that GitLab makes nothing of a protected branch is found, however the key is written.
  expect(text('free')).toContain('Checking cache for files-non_protected...\n');
  expect(all.get('free')?.state, text('free')).toBe('failed');
  expect(text('nothing')).toContain('WARNING: none/: no matching files\nWARNING: No files to cache.\nJob succeeded');
  expect(all.get('odd')?.state).toBe('failed');
  expect(text('odd')).toContain('ERROR: Job failed: unknown cache policy fetch for odd-protected\n');
  // As git and GitLab make it of the two files' contents.
  const blobs = ['one', 'two'].map((body) => createHash('sha1').update(`blob ${body.length}\0${body}`).digest('hex'));
  const sum = createHash('sha1').update(blobs.sort().join('-')).digest('hex');
  expect(text('loose')).toContain(`Creating cache v1-${sum}-protected...\n`);
  expect(text('loose')).toContain('untracked: found 3 files\n');
  // Asked for zstd, this Node.js has it, or the trace says that it has not.
  const hasZstd = 'createZstdCompress' in zlib;
  expect(text('loose').includes('has no zstd: packed as zip does\n'), text('loose')).toBe(!hasZstd);
  expect(all.get('tight')?.state, text('tight')).toBe('success');
  expect(text('tight')).toContain('\nnew\no\nkept\n');
});

const sizes = `
stages: [one, two, three]
large:
  stage: one
  cache: { key: k, paths: [w] }
  script: ["mkdir -p w; head -c 3000000 /dev/zero > w/zeros"]
small:
  stage: two
  cache: { key: k, paths: [w] }
  script: ["mkdir -p w; head -c 100000 /dev/urandom > w/noise; rm -f w/zeros"]
again:
  stage: three
  cache: { key: k, paths: [w], policy: pull }
  script: ["wc -c < w/noise"]
`;

it('that is too large, or damaged, is said and fails no job', async () => {
  lab = await RunLab.start({ '.gitlab-ci.yml': sizes });
  lab.more = { cacheLimitBytes: 2 << 20 };
  await lab.agent();
  const all = await runAll(2);
  expect(all.get('large')?.state).toBe('success');
  expect(all.get('large')?.text).toContain(
    'WARNING: the files are larger than 2 MiB together, all that this node keeps of caches (--cache-limit)\nWARNING: Failed to create cache\n',
  );
  expect(all.get('small')?.text).toContain('Created cache\n');
  const [file] = cacheFiles() as [string];
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
  writeFileSync(file, bytes);
  const again = (await runAll(1)).get('again');
  expect(again?.text).toContain('WARNING: its bytes are not those that were kept\nWARNING: Failed to extract cache\n');
  // Nothing of it came into the tree.
  expect(again?.text).toMatch(/w\/noise: No such file/);
  expect(cacheFiles()).toEqual([]);
});

it('is kept once and whole by a run that another agent goes on with', async () => {
  const ci = `
make:
  cache: [{ key: a, paths: [a] }, { key: b, paths: [b] }]
  script: ["echo a > a; mkdir b; cd b; for i in $(seq 3000); do echo $i > $i; done"]
`;
  lab = await RunLab.start({ '.gitlab-ci.yml': ci });
  await lab.agent();
  const run = await lab.begin();
  await until('the second cache', async () => (await lab.traceHere(run)).includes('Creating cache b-'));
  await lab.stopAgent();
  await lab.agent();
  const ended = await lab.ended(run);
  const text = plainText(await lab.traceAt(run));
  expect(ended.result?.state, text).toBe('success');
  expect(cacheFiles()).toHaveLength(2);
  // What is kept already is not packed again.
  expect(text.match(/Creating cache a-protected/g), text).toHaveLength(1);
  expect(text).toMatch(/3001 files, .* kept on kang\nCreated cache\nJob succeeded/);
});
