import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { afterEach, describe, expect, it } from 'vitest';
import { usesLfs } from '../../node/runs/git-lfs.ts';
import { GitSources } from '../../node/runs/git-sources.ts';
import type { SourcesSpec } from '../../node/runs/sources-spec.ts';
import { RunLab } from './run-lab.ts';

/** Repositories, servers and moments that mean no good (security A5, A13, A16; chaos C3, C3b). */
let lab: RunLab;
const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  await lab.stop();
});

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void, host: string) {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return `http://${host}:${(server.address() as AddressInfo).port}`;
}

async function head(): Promise<string> {
  return (await lab.git('rev-parse', 'HEAD')).stdout.trim();
}

/** The token of a job that runs as far as GitLab knows. */
async function jobToken(): Promise<void> {
  ({ token } = await lab.takeJob());
}
let token = '';

async function specOf(more: Partial<SourcesSpec> = {}): Promise<SourcesSpec> {
  return {
    gitlabUrl: lab.gitlab.url,
    repoUrl: `${lab.gitlab.url}/root/sample.git`,
    token,
    sha: await head(),
    ref: 'main',
    refspecs: ['+refs/heads/main:refs/remotes/origin/main'],
    depth: 5,
    ...more,
  };
}

async function commit(message: string): Promise<void> {
  await lab.git('add', '-A');
  await lab.git('commit', '-q', '--allow-empty', '-m', message);
  await lab.git('push', '-q', '-o', 'ci.skip', lab.address, 'HEAD:main');
}

const within = <T>(ms: number, work: Promise<T>): Promise<T | 'hangs'> =>
  Promise.race([work, new Promise<'hangs'>((resolve) => setTimeout(() => resolve('hangs'), ms).unref())]);

async function take(sources: GitSources, spec: SourcesSpec, signal = new AbortController().signal): Promise<string[]> {
  const got = await sources.fetch(spec, signal);
  const { tar } = got;
  await new Promise((resolve, reject) => tar?.resume().on('end', resolve).on('error', reject));
  await got.remove();
  const [mirror = ''] = readdirSync(join(lab.home, 'mirrors')).filter((name) => name.endsWith('.git'));
  return [got.sentence, String(await usesLfs(join(lab.home, 'mirrors', mirror), spec.sha, signal))];
}

describe('a hostile repository', () => {
  it('has links where git has its own files: none is followed, and the thread pool stays free', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n', file: 'x' });
    await jobToken();
    const tree = join(lab.folder, 'tree');
    const fifo = join(lab.folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const outside = join(lab.folder, 'attributes-of-root');
    writeFileSync(outside, '*.bin filter=lfs\n');
    const sources = new GitSources(lab.home);
    for (const target of [fifo, '/dev/zero', outside]) {
      rmSync(join(tree, '.gitattributes'), { force: true });
      symlinkSync(target, join(tree, '.gitattributes'));
      await commit(target);
      const spec = await specOf();
      const before = process.memoryUsage().rss;
      // Four at once: as many as libuv has threads.
      const all = await within(15_000, Promise.all([1, 2, 3, 4].map(() => take(sources, spec))));
      expect(all, target).toEqual(Array(4).fill([expect.stringContaining('Checked out'), 'false']));
      expect(await within(2_000, stat('/'))).not.toBe('hangs');
      expect(process.memoryUsage().rss - before).toBeLessThan(200 << 20);
    }
    rmSync(join(tree, '.gitattributes'));
    writeFileSync(join(tree, '.gitattributes'), '*.bin filter=lfs\n');
    await commit('an honest one');
    expect(await take(sources, await specOf())).toEqual([expect.stringContaining('Checked out'), 'true']);
    await sources.close();
  });

  it('is fetched by http and https alone, and only what names of git can say', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    await jobToken();
    const sources = new GitSources(lab.home);
    const { signal } = new AbortController();
    const refused = async (more: Partial<SourcesSpec>): Promise<string> =>
      sources.fetch(await specOf(more), signal).then(
        () => 'fetched',
        (error: Error & { isAway?: boolean }) => (error.isAway ? 'away' : error.message),
      );
    for (const repoUrl of [`file://${lab.folder}/tree`, 'ssh://h/x.git', 'git://h/x.git', 'ext::sh -c id'])
      expect(await refused({ repoUrl }), repoUrl).toMatch(/only http and https are fetched/);
    expect(await refused({ gitlabUrl: `file://${lab.folder}` })).toMatch(/only http and https/);
    for (const sha of ['', '--upload-pack=id', 'HEAD', 'A'.repeat(40), '1'.repeat(39), '1'.repeat(65)])
      expect(await refused({ sha }), sha).toMatch(/gave a commit that is none/);
    for (const ref of ['--output=x', 'a b', 'a..b', 'a:b', 'x\ny', ''])
      expect(await refused({ ref }), ref).toMatch(/gave a ref that is none/);
    for (const refspec of ['--upload-pack=id', 'refs/heads/x:../../x', '+refs/heads/a:refs/x y', 'a:b:c', ':'])
      expect(await refused({ refspecs: [refspec] }), refspec).toMatch(/gave a refspec that is none/);
    expect(existsSync(join(lab.home, 'mirrors'))).toBe(false);
  });

  it('sends git elsewhere: the token does not go along, and the sentence says what to do', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    const heard: string[] = [];
    const thief = await serve((request, response) => {
      heard.push(`${request.url} ${request.headers.authorization ?? 'no token'}`);
      response.writeHead(404).end();
    }, '127.0.0.2');
    const liar = await serve(
      (request, response) => response.writeHead(302, { location: `${thief}${request.url}` }).end(),
      '127.0.0.1',
    );
    const sources = new GitSources(lab.home);
    await expect(sources.fetch(await specOf({ gitlabUrl: liar }), new AbortController().signal)).rejects.toMatchObject({
      isAway: false,
      message: expect.stringMatching(/another address.*gitlab connect/s),
    });
    expect(heard).toEqual([]);
  });
});

describe('GitLab in the middle of a fetch', () => {
  it('goes away: the commit that is here already is enough, for a new pipeline too', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    await jobToken();
    const sources = new GitSources(lab.home);
    const pipeline = (id: number): string[] => [
      `+refs/pipelines/${id}:refs/pipelines/${id}`,
      '+refs/heads/main:refs/remotes/origin/main',
    ];
    await take(sources, await specOf());
    await lab.gitlab.down();
    expect((await take(sources, await specOf({ refspecs: pipeline(77) })))[0]).toContain('Checked out');
    // Every branch and tag is more than is known here, and a commit that is not here is not here: these wait.
    const { signal } = new AbortController();
    for (const more of [{ refspecs: ['+refs/heads/*:refs/remotes/origin/*'], depth: 0 }, { sha: 'a'.repeat(40) }])
      await expect(sources.fetch(await specOf(more), signal)).rejects.toMatchObject({ isAway: true });
    await lab.gitlab.up();
    await sources.close();
  });

  it('cuts the pack short: that is away, not a fault of the repository', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    const cut = await serve((request, response) => {
      response.writeHead(200, {
        'content-type': 'application/x-git-upload-pack-advertisement',
        'content-length': '5000',
      });
      response.write('001e# service=git-upload-pack\n0000');
      setTimeout(() => request.socket.destroy(), 50);
    }, '127.0.0.1');
    const sources = new GitSources(lab.home);
    await expect(sources.fetch(await specOf({ gitlabUrl: cut }), new AbortController().signal)).rejects.toMatchObject({
      isAway: true,
    });
  });

  it('says nothing more: abort ends it at once, and who has what it needs does not wait behind it', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    await jobToken();
    const sources = new GitSources(lab.home);
    const own = await specOf({ refspecs: ['+refs/heads/main:refs/pipelines/1'] });
    await take(sources, own);
    const silent = await serve(() => undefined, '127.0.0.1');
    const ending = new AbortController();
    const begun = Date.now();
    const hanging = [1, 2].map(async () =>
      sources.fetch(await specOf({ gitlabUrl: silent }), ending.signal).catch((error: Error) => error.message),
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await within(5_000, take(sources, { ...own, gitlabUrl: silent }))).not.toBe('hangs');
    ending.abort();
    expect(await within(6_000, Promise.all(hanging))).toEqual([
      expect.stringContaining('ended'),
      expect.stringContaining('ended'),
    ]);
    expect(Date.now() - begun).toBeLessThan(12_000);
  });

  it('is taken to be away once it is silent, and is given longer each time', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    const silent = await serve(() => undefined, '127.0.0.1');
    const sources = new GitSources(lab.home, 1_000);
    const begun = Date.now();
    await expect(
      sources.fetch(await specOf({ gitlabUrl: silent }), new AbortController().signal),
    ).rejects.toMatchObject({ isAway: true, message: expect.stringContaining('nothing came from GitLab') });
    expect(Date.now() - begun).toBeLessThan(6_000);
    await expect(
      sources.fetch(await specOf({ gitlabUrl: silent }), new AbortController().signal),
    ).rejects.toMatchObject({ message: expect.stringContaining('for 2 s') });
  });
});

describe('tags', () => {
  it('come as far as the tree reaches; all or none when the job asks for it; moved ones where they are now', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    await jobToken();
    await lab.git('tag', 'old');
    for (const message of ['two', 'three', 'four']) await commit(message);
    await lab.git('tag', 'near', 'HEAD~1');
    await lab.git('tag', 'moved', 'HEAD~1');
    const push = () => lab.git('push', '-q', '-f', '--prune', '-o', 'ci.skip', lab.address, 'refs/tags/*:refs/tags/*');
    await push();
    const sources = new GitSources(lab.home);
    const tagsOf = async (more: Partial<SourcesSpec>): Promise<string[]> => {
      const got = await sources.fetch(await specOf({ depth: 2, ...more }), new AbortController().signal);
      const names: string[] = [];
      const entries = extract();
      entries.on('entry', (header, body, next) => {
        const name = String(header.name);
        if (name.startsWith('.git/refs/tags/') && !name.endsWith('/')) names.push(name.slice(15));
        body.on('end', next).resume();
      });
      await pipeline(got.tar as Readable, entries);
      await got.remove();
      return names.sort();
    };
    expect(await tagsOf({})).toEqual(['moved', 'near']);
    expect(await tagsOf({ tags: 'none' })).toEqual([]);
    expect(await tagsOf({ tags: 'all' })).toEqual(['moved', 'near', 'old']);
    await lab.git('tag', '-f', 'moved', 'HEAD~3');
    await lab.git('tag', '-d', 'near');
    await push();
    expect(await tagsOf({})).toEqual([]);
    await sources.close();
  });
});

describe('mirrors', () => {
  it('forget pipelines and submodules of the past, half packs, and projects of a month ago', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    await jobToken();
    const mirrors = join(lab.home, 'mirrors');
    const first = new GitSources(lab.home);
    await take(first, await specOf());
    await first.close();
    const [name] = readdirSync(mirrors).filter((entry) => entry.endsWith('.git')) as [string];
    const mirror = join(mirrors, name);
    const git = (...args: string[]) => execFileSync('git', args, { cwd: mirror, encoding: 'utf8' });
    const sha = await head();
    for (let id = 1; id <= 80; id++) {
      git('update-ref', `refs/pipelines/${id}`, sha);
      git('update-ref', `refs/autogit/modules/${id}`, sha);
    }
    const long = new Date(Date.now() - 40 * 86_400_000);
    const half = join(mirror, 'objects', 'pack', 'tmp_pack_abc');
    const loose = join(mirror, 'objects', '00', 'tmp_obj_abc');
    const fetched = join(mirror, 'objects', 'pack', 'tmp_pack_of_now');
    mkdirSync(join(mirror, 'objects', '00'), { recursive: true });
    for (const path of [half, loose, fetched]) writeFileSync(path, 'half');
    for (const path of [half, loose]) utimesSync(path, long, long);
    rmSync(join(mirror, 'autogit-maintained'));
    const old = join(mirrors, 'abandoned.git');
    for (const path of ['objects/pack', 'refs']) mkdirSync(join(old, path), { recursive: true });
    for (const path of ['objects/pack', 'refs', '.']) utimesSync(join(old, path), long, long);

    const sources = new GitSources(lab.home);
    await sources.sweep();
    expect([half, loose, fetched].map((path) => existsSync(path))).toEqual([false, false, true]);
    expect(existsSync(old)).toBe(false);
    await take(sources, await specOf());
    await sources.close(10_000);
    const left = git('for-each-ref', '--format=%(refname)', 'refs/pipelines').trim().split('\n');
    expect(left).toHaveLength(50);
    expect(left).toContain('refs/pipelines/80');
    expect(git('for-each-ref', '--format=%(refname)', 'refs/autogit/modules').trim().split('\n')).toHaveLength(50);
    expect(readdirSync(join(mirror, 'objects', 'pack')).some((entry) => entry.endsWith('.pack'))).toBe(true);
    // And it still gives its trees.
    expect((await take(new GitSources(lab.home), await specOf()))[0]).toContain('Checked out');
  });
});
