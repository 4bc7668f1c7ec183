import { describe, expect, it } from 'vitest';
import { answerTo } from '../../node/agent/answers.ts';
import { HostingRequests } from '../../node/agent/hosting-requests.ts';
import type { OtherMesh } from '../../node/agent/other-meshes.ts';
import type { DeployRequest } from '../../node/local-api/socket-protocol.ts';
import { Answer, type Ask } from '../../protocol/asks.ts';
import { Change } from '../../protocol/changes.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { type HostedAddress, hostedUrl } from '../../scheduler/hosting/hosted-edits.ts';
import { applyChange } from '../../scheduler/membership.ts';
import type { FencedThere } from '../../scheduler/snapshot-fenced.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { ledgerOf, One, wall } from './raft-one.ts';

/** Three machines that can host, of which C does not vote. */
function mesh(): Ledger {
  const ledger = ledgerOf({ A: 2, B: 2, C: 2 });
  const { C: _plain, ...voters } = ledger.configuration.voters;
  const nodes = Object.fromEntries(
    Object.entries(ledger.nodes).map(([id, node]) => [id, { ...node, can: [...abilities] }]),
  );
  return { ...ledger, nodes, configuration: { voters, next: null } };
}

const wish = { image: 'gitlab/gitlab-ce:19.4.1-ce.0', preset: 'homelab', port: 8080, sshPort: 2222 } as const;
const asked: DeployRequest = { ...wish, on: 'b', hostname: null, data: null };

describe('what is asked of a machine about the GitLab of the mesh', () => {
  it.each([
    { kind: 'check-deploy', wish: { ...wish, hostname: null, data: null } },
    { kind: 'root-password' },
    { kind: 'look-at-gitlab' },
    { kind: 'begin-adopt', wish: { container: null, preset: 'minimal', hostname: null, data: null } },
    { kind: 'adoption' },
    { kind: 'check-left', wish: { ...wish, hostname: null, data: '/srv/old' } },
    { kind: 'take-left', path: '/srv/old', mesh: 'm', data: 'data-old', epoch: 9 },
  ] as Ask[])('$kind is answered to who votes and to itself, not to a plain member (SAFETY L17)', async (ask) => {
    const { state } = new One(mesh(), 'B');
    const answered: Answer = { kind: 'said', because: 'it is done' };
    const sources = { view: () => ({ state, at: 1000, wallMs: wall }), hosting: { answer: async () => answered } };
    const from = (node: string) => answerTo(node, ask, sources as unknown as Parameters<typeof answerTo>[2]);
    expect([await from('A'), await from('B')]).toEqual([answered, answered]);
    expect(await from('C')).toMatchObject({ kind: 'refused', because: expect.stringContaining('c does not vote') });
    expect(await from('X')).toMatchObject({ kind: 'refused' });
  });
});

describe('a deployment that a person asks for', () => {
  const left: Answer = {
    kind: 'left-checked',
    isPlace: true,
    checks: [{ state: 'ok', what: 'place', sentence: '/srv/old has the data of a GitLab', fix: null }],
    found: {
      ...{ path: '/srv/old', mesh: 'mesh-of-before', data: 'data-old', what: 'copies', epoch: 9, round: '0-9-4711' },
      ...{ at: 5, version: '19.4.1', image: 'gitlab/gitlab-ce:19.4.1-ce.0' },
    },
    address: '192.168.1.10',
  };
  const regaining = { ...wish, image: null, on: 'b', hostname: null, data: '/srv/old' };

  it('on data of a mesh that is gone begins above all their epochs; one whose machines are in sight is not taken from', async () => {
    const place = { kind: 'subvolume', path: '/srv/old', data: 'data-old' };
    const { lines, changes, asks } = requests(mesh(), ({ kind }) =>
      kind === 'check-left' ? left : kind === 'take-left' ? { kind: 'said', because: 'taken' } : checked({ place }),
    );
    const plan = await lines.gitlabRegainPlan(regaining);
    expect(plan).toMatchObject({ host: 'b', isPlace: true, url: 'http://192.168.1.10:8080', found: { epoch: 9 } });
    expect(plan.lines.find(({ what }) => what === 'mesh')).toMatchObject({
      state: 'warn',
      sentence: expect.stringContaining('by mDNS'),
    });
    expect(await lines.gitlabRegain(regaining)).toMatchObject({ state: 'done' });
    expect(asks.map(([, { kind }]) => kind)).toEqual(['check-left', 'check-left', 'take-left', 'check-deploy']);
    expect(asks[2]).toEqual([
      'B',
      { kind: 'take-left', path: '/srv/old', mesh: 'mesh-of-before', data: 'data-old', epoch: 9 },
    ]);
    expect(changes).toMatchObject([
      {
        kind: 'deploy-gitlab',
        host: 'B',
        above: 9,
        hosted: { data: 'data-old', image: 'gitlab/gitlab-ce:19.4.1-ce.0', place: { path: '/srv/old' } },
      },
    ]);

    // Where it has no other: as the deployment says it.
    const bare = requests(mesh(), () => ({ ...left, ipv6: 'fd00::7' }) as Answer);
    expect((await bare.lines.gitlabRegainPlan(regaining)).url).toBe('http://[fd00::7]:8080');
    expect((await bare.lines.gitlabRegainPlan({ ...regaining, hostname: 'git.lan' })).url).toBe('http://git.lan:8080');
    others = [{ id: 'mesh-of-before', name: 'old home', member: 'attic', inSight: 2 }];
    const living = await lines.gitlabRegainPlan(regaining);
    expect(living.lines.find(({ what }) => what === 'mesh')).toMatchObject({
      state: 'fail',
      sentence: expect.stringMatching(/"old home" .* lives: 2 of its machines in sight by mDNS, attic among them/),
    });
    expect(await lines.gitlabRegain(regaining)).toMatchObject({
      state: 'refused',
      because: expect.stringContaining('lives'),
    });
    expect(changes).toHaveLength(1);
    others = [];
    // Cut off after it was taken: the place is this mesh's by now, and what is left is the deployment. Copies are no data yet.
    const ownOf = (what: 'host' | 'copies') =>
      requests(mesh(), ({ kind }) =>
        kind === 'check-left'
          ? ({ ...left, found: { ...(left as { found: object }).found, mesh: mesh().mesh.id, what } } as Answer)
          : kind === 'take-left'
            ? { kind: 'said', because: 'taken' }
            : checked({ place }),
      );
    const uninstalled = ownOf('copies');
    expect(await uninstalled.lines.gitlabRegain(regaining)).toMatchObject({ state: 'done' });
    expect(uninstalled.asks.map(([, { kind }]) => kind)).toEqual(['check-left', 'take-left', 'check-deploy']);
    const own = ownOf('host');
    expect(await own.lines.gitlabRegain(regaining)).toMatchObject({ state: 'done' });
    expect(own.asks.map(([, { kind }]) => kind)).toEqual(['check-left', 'check-deploy']);
  });

  const checked = (more: object = {}): Answer =>
    Answer.parse({
      kind: 'deploy-checked',
      checks: [{ state: 'ok', what: 'machine', sentence: 'amd64', fix: null }],
      place: { kind: 'folder', path: '/srv/gitlab', data: null },
      address: '192.168.1.10',
      ...more,
    });
  let others: OtherMesh[] = [];
  let fenced: FencedThere[] = [];
  function requests(ledger: Ledger | (() => Ledger), answer: Answer | ((ask: Ask) => Answer)) {
    const changes: Change[] = [];
    const asks: [string, Ask][] = [];
    const lines = new HostingRequests({
      ...{ self: 'A', wallMs: () => 0, sealFor: () => 'sealed' },
      ledger: typeof ledger === 'function' ? ledger : () => ledger,
      ask: async (node, ask) => {
        asks.push([node, ask]);
        return typeof answer === 'function' ? answer(ask) : answer;
      },
      change: async (change) => {
        changes.push(Change.parse(change));
        return { state: 'done', because: 'done' };
      },
      nodeNamed: (name) => name.toUpperCase(),
      addressOf: () => null,
      unseal: () => null,
      others: () => others,
      fenced: () => fenced,
    });
    return { lines, changes, asks };
  }

  it('what a machine served until another one took over is asked of that machine, whoever hosts now', async () => {
    fenced = [{ node: 'C', seen: { name: 'fenced-1', at: 0, bytes: 5 } }];
    const compared = { at: 1, passedMs: 1, rows: [], from: 0, total: 0, files: [], notes: [] };
    const { lines, asks } = requests(mesh(), (ask) =>
      ask.kind === 'compare-fenced' ? { kind: 'compared', ...compared } : { kind: 'said', because: 'so it is' },
    );
    await lines.gitlabCompare({ with: 'fenced-1', from: 0 });
    expect(await lines.gitlabBringFenced({ name: 'fenced-1', project: 'home/blog' })).toBe('so it is');
    expect(await lines.gitlabDropFenced({ name: 'fenced-1' })).toBe('so it is');
    expect(asks).toEqual([
      ['C', { kind: 'compare-fenced', with: 'fenced-1', from: 0 }],
      ['C', { kind: 'bring-fenced', name: 'fenced-1', project: 'home/blog' }],
      ['C', { kind: 'drop-fenced', name: 'fenced-1' }],
    ]);
    await expect(lines.gitlabDropFenced({ name: 'fenced-2' })).rejects.toThrow(
      'no machine that was heard keeps fenced-2',
    );
    fenced = [];
  });

  it('asks the machine that shall host, and takes its place and address for what was not said', async () => {
    const { lines, changes, asks } = requests(mesh(), checked());
    const plan = await lines.gitlabPlan(asked);
    expect(plan).toMatchObject({ host: 'b', url: 'http://192.168.1.10:8080', folder: '/srv/gitlab' });
    expect(plan.lines.map(({ state, what }) => [state, what])).toEqual([
      ['ok', 'machine'],
      ['ok', 'address'],
      ['warn', 'copies'],
    ]);
    expect(changes).toEqual([]);
    expect(await lines.gitlabDeploy(asked)).toMatchObject({ state: 'done' });
    expect(asks.map(([node]) => node)).toEqual(['B', 'B']);
    expect(changes).toMatchObject([
      {
        kind: 'deploy-gitlab',
        host: 'B',
        hosted: { ...wish, data: expect.stringMatching(/^[0-9a-f]{12}$/), hostname: '192.168.1.10' },
        because: 'asked on a',
      },
    ]);
  });

  it('where copies will lie is said without the id that data get only when it is deployed', async () => {
    const place = { kind: 'image', path: '/srv/gitlab', data: null };
    const answers = (ask: Ask): Answer =>
      ask.kind === 'check-copies'
        ? Answer.parse({
            kind: 'copies-checked',
            checks: [{ state: 'ok', what: 'room', sentence: `/h/gitlab-copies/${ask.data}, 50 GiB for it`, fix: null }],
          })
        : checked({ place });
    const { lines: told, copies } = await requests(mesh(), answers).lines.gitlabPlan(asked);
    expect(copies).toEqual(['a', 'c']);
    expect(told.map(({ sentence }) => sentence)).toContain('a: /h/gitlab-copies, 50 GiB for it');
    // Of two machines the one that is left is no majority: that is said before anybody agrees.
    const { C: _gone, ...nodes } = mesh().nodes;
    const two = await requests({ ...mesh(), nodes }, answers).lines.gitlabPlan(asked);
    expect(two.lines.at(-1)).toMatchObject({
      ...{ state: 'warn', what: 'copies' },
      sentence: expect.stringContaining('when b dies, GitLab goes on at a only by autogit-node recover --force'),
      fix: expect.stringContaining('join --witness'),
    });
    expect(told.filter(({ sentence }) => sentence.includes('recover --force'))).toEqual([]);
  });

  it('data that lie there are taken up under their own name; an address that only that machine has is said', async () => {
    const place = { kind: 'image', path: '/srv/gitlab', data: 'k3v9q2m4' };
    const { lines, changes } = requests(mesh(), checked({ place, address: '127.0.0.1' }));
    expect((await lines.gitlabPlan(asked)).lines).toContainEqual(
      expect.objectContaining({ state: 'warn', what: 'address', fix: 'name one that all reach: --hostname NAME' }),
    );
    await lines.gitlabDeploy({ ...asked, hostname: 'git.lan' });
    expect(changes).toMatchObject([{ hosted: { data: 'k3v9q2m4', hostname: 'git.lan', place: { kind: 'image' } } }]);
  });

  it('is reached by the name of the mesh where its machine answers to that, and by an address where that is known already', async () => {
    const place = { kind: 'image', path: '/srv/gitlab', data: null };
    const urlOf = async (more: object, wished: Partial<DeployRequest> = {}, ledger = mesh()): Promise<string> => {
      const { lines, changes } = requests(ledger, checked({ place, name: 'home.local', ...more }));
      const { url } = await lines.gitlabPlan({ ...asked, ...wished });
      await lines.gitlabDeploy({ ...asked, ...wished });
      const [change] = changes as (Change & { kind: 'deploy-gitlab' })[];
      expect(hostedUrl(change!.hosted as HostedAddress)).toBe(url);
      return url;
    };
    expect(await urlOf({})).toBe('http://home.local:8080');
    const { lines } = await requests(mesh(), checked({ place, name: 'home.local' })).lines.gitlabPlan(asked);
    expect(lines.find(({ what }) => what === 'address')?.sentence).toMatch(/finds no such names takes 192\.168\.1\.10/);
    expect(await urlOf({}, { hostname: 'git.lan' })).toBe('http://git.lan:8080');
    expect(await urlOf({}, { ipv6: 'fd00::1' })).toBe('http://[fd00::1]:8080');
    // Links in data of before lead to an address; a machine of an earlier version would not find the name.
    expect(await urlOf({ place: { ...place, data: 'k3v9q2m4' } })).toBe('http://192.168.1.10:8080');
    const { C, ...nodes } = mesh().nodes;
    const older = { ...mesh(), nodes: { ...nodes, C: { ...C!, can: ['deploy' as never] } } };
    expect(await urlOf({}, {}, older)).toBe('http://192.168.1.10:8080');
    expect(await urlOf({ name: undefined, ipv6: 'fd00::2', address: '127.0.0.1' })).toBe('http://[fd00::2]:8080');
  });

  describe('and the taking over of one that runs already', () => {
    const adopt = { on: 'b', container: null, preset: 'minimal', hostname: null, data: null } as const;
    const found = {
      container: 'gitlab',
      image: wish.image,
      hostname: 'b.lan',
      port: 8929,
      folder: '/srv/p',
      awayMs: 1,
    };
    const answer = Answer.parse({ kind: 'adopt-checked', checks: [], found });

    it('is looked at and begun where it runs', async () => {
      const { lines, asks } = requests(mesh(), answer);
      expect(await lines.gitlabAdoptPlan(adopt)).toMatchObject({ host: 'b', url: 'http://b.lan:8929', found });
      await lines.gitlabAdopt(adopt);
      expect(asks.map(([node, { kind }]) => [node, kind])).toEqual([
        ['B', 'check-adopt'],
        ['B', 'begin-adopt'],
      ]);
    });

    it('is refused where the mesh runs one itself, with what that would end; protection too, before anything is looked for', async () => {
      const ledger = mesh();
      const hosted = hostedGitlab();
      const gitlab = { ...ledger.gitlab, mode: 'hosted' as const, host: 'A', epoch: 1, hosted };
      const { lines, asks } = requests({ ...ledger, gitlab }, answer);
      expect((await lines.gitlabAdoptPlan(adopt)).lines).toEqual([
        {
          ...{ state: 'fail', what: 'mesh', sentence: 'this mesh hosts a GitLab already, on a' },
          fix: 'a mesh runs one GitLab; to end that one: autogit-node gitlab uninstall',
        },
      ]);
      expect((await lines.gitlabProtection({ on: 'b', container: null })).lines).toMatchObject([
        { state: 'fail', sentence: 'this mesh runs its own GitLab, and backs that up' },
      ]);
      expect(asks).toEqual([]);
    });

    it('is not asked of an earlier version, nor where the mesh has a GitLab', async () => {
      const ledger = mesh();
      const older = { ...ledger, nodes: { ...ledger.nodes, B: { ...ledger.nodes.B!, can: ['hosting'] } } };
      const connected = { ...ledger, gitlab: { ...ledger.gitlab, mode: 'connected' as const, url: 'http://git.lan' } };
      for (const [one, words] of [
        [older, 'earlier version'],
        [connected, 'is connected to GitLab at http://git.lan'],
      ] as const) {
        const { lines, asks } = requests(one, answer);
        const plan = await lines.gitlabAdoptPlan(adopt);
        expect([plan.found, plan.lines[0]?.state, asks]).toEqual([null, 'fail', []]);
        expect(plan.lines[0]?.sentence).toContain(words);
      }
    });
  });

  it.each([
    [
      'a check fails',
      checked({ checks: [{ state: 'fail', what: 'ports', sentence: 'port 8080 is taken', fix: null }] }),
      'port 8080 is taken',
    ],
    ['nothing is fit for its data', checked({ place: null }), 'b has no place'],
  ])('nothing is asked of the mesh when %s', async (_what, answer, because) => {
    const { lines, changes } = requests(mesh(), answer);
    expect(await lines.gitlabDeploy(asked)).toMatchObject({
      state: 'refused',
      because: expect.stringContaining(because),
    });
    expect(changes).toEqual([]);
    // Whether it can be copied as it runs is no question before it has a place.
    if (answer.kind === 'deploy-checked' && answer.place === null)
      expect((await lines.gitlabPlan(asked)).lines.map(({ what }) => what)).not.toContain('copies');
  });

  it('that another operator deploys the same while it is looked at is no failure: their ports and folder are what is found taken', async () => {
    const first = requests(mesh(), checked());
    await first.lines.gitlabDeploy(asked);
    const after = applyChange(mesh(), first.changes[0] as Change, wall) as Ledger;
    const taken = checked({ checks: [{ state: 'fail', what: 'ports', sentence: 'port 8080 is taken', fix: null }] });
    for (const look of ['gitlabPlan', 'gitlabDeploy'] as const) {
      let now = mesh();
      const { lines, changes } = requests(
        () => now,
        () => {
          now = after;
          return taken;
        },
      );
      const said = await lines[look](asked);
      if ('lines' in said) expect(said.lines).toMatchObject([{ state: 'ok', what: 'mesh' }]);
      else expect(said).toMatchObject({ state: 'done', because: expect.stringContaining('this very GitLab on b') });
      expect(changes).toEqual([]);
    }
  });

  it('asked for again as it stands, nothing is begun anew, and it is no failure; one that is going is no reason to uninstall it', async () => {
    const before = requests(mesh(), checked());
    await before.lines.gitlabDeploy(asked);
    const changed = (ledger: Ledger, change: Change): Ledger => applyChange(ledger, change, wall) as Ledger;
    const there = changed(mesh(), before.changes[0] as Change);
    const { lines, changes, asks } = requests(there, checked());
    expect(await lines.gitlabPlan(asked)).toMatchObject({
      ...{ host: 'b', url: 'http://192.168.1.10:8080', folder: '/srv/gitlab' },
      lines: [{ state: 'ok', sentence: 'the mesh runs this very GitLab on b: nothing is begun anew' }],
    });
    expect(await lines.gitlabDeploy(asked)).toMatchObject({ state: 'done' });
    expect([changes, asks]).toEqual([[], []]);
    expect((await lines.gitlabPlan({ ...asked, port: 9000 })).lines[0]).toMatchObject({
      state: 'fail',
      fix: expect.stringMatching(/gitlab upgrade; .*: autogit-node gitlab uninstall$/),
    });
    const going = requests(changed(there, { kind: 'uninstall-gitlab', deleteData: false }), checked());
    expect((await going.lines.gitlabPlan(asked)).lines).toEqual([
      {
        ...{ state: 'fail', what: 'mesh', fix: 'autogit-node gitlab' },
        sentence:
          'the GitLab on b is being uninstalled, and another one can follow it once it is gone; how far that is',
      },
    ]);
  });

  it('an uninstall names the epoch of the GitLab that is there when it is asked for', async () => {
    const change = Change.parse({
      kind: 'deploy-gitlab',
      host: 'B',
      hosted: { ...wish, data: 'k3v9q2m4', hostname: 'git.lan', place: { kind: 'folder', path: '/srv/gitlab' } },
      because: 'asked on a',
    });
    const hosting = applyChange(mesh(), change, wall) as Ledger;
    const { lines, changes } = requests(hosting, checked());
    await lines.gitlabUninstall({ deleteData: true, now: false, force: false });
    expect(changes).toMatchObject([{ kind: 'uninstall-gitlab', epoch: hosting.gitlab.epoch, deleteData: true }]);
  });

  it('what the ledger has against it is said before any machine is asked, with the command that helps', async () => {
    const drained = mesh();
    drained.nodes.B = { ...drained.nodes.B!, drained: true };
    const { lines, asks } = requests(drained, checked());
    expect((await lines.gitlabPlan(asked)).lines).toEqual([
      { state: 'fail', what: 'mesh', sentence: 'b is drained', fix: 'autogit-node undrain b' },
    ]);
    expect(asks).toEqual([]);
  });
});
