import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { Change as ChangeSchema } from '../../protocol/changes.ts';
import { abilities, Ledger } from '../../protocol/ledger.ts';
import { leavingOf } from '../../scheduler/disconnecting.ts';
import { hostedUrl, hostingDrained, hostingGone, hostingOf, isDeployed } from '../../scheduler/hosting/hosted-edits.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { whyNot } from '../../scheduler/raft/acts.ts';
import { applied, refusedAt } from '../fixtures/applied-changes.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { One } from './raft-one.ts';

const now = 1_800_000_000_000;
const hosted = {
  data: 'k3v9q2m4',
  image: 'gitlab/gitlab-ce:17.5.1-ce.0',
  preset: 'homelab' as const,
  place: { kind: 'folder' as const, path: '/srv/gitlab' },
  hostname: 'home.local',
  port: 8929,
  sshPort: 2224,
};
const deploy = (host = 'K', over: Partial<typeof hosted> = {}): Change & { kind: 'deploy-gitlab' } => ({
  kind: 'deploy-gitlab',
  host,
  hosted: { ...hosted, ...over },
  because: 'asked by ann on kang',
});
const uninstall = (over: object = {}): Change => ({ kind: 'uninstall-gitlab', deleteData: false, ...over });
const said = { data: hosted.data, epoch: 1 };
const stands = {
  kind: 'gitlab-stands',
  ...said,
  url: 'http://home.local:8929',
  token: 'sealed-token-of-gitlab',
  instance: 'i',
} as const;

function mesh(): Ledger {
  const ledger = foundedMesh({ store: 'store-K', wallMs: now });
  const { K } = ledger.nodes;
  const nodes = { K: K!, D: { ...K!, name: 'desktop-1', can: [...abilities] } };
  return { ...ledger, nodes, gitlab: { ...ledger.gitlab, epoch: 4, plannedByALaterVersion: 'kept' } };
}
const apply = applied(now + 5);
const refusal = refusedAt(now);
const of5 = { ...said, epoch: 5 };
const drained = (ledger: Ledger): Ledger => hostingDrained(hosted.data, 'settled').apply(ledger) as Ledger;

it('no ledger has a longer list of abilities than versions of before read', () => {
  expect(abilities.length).toBeLessThanOrEqual(16);
});

describe('a GitLab that the mesh hosts, in the ledger (SAFETY H7)', () => {
  it('of data of a mesh that is gone its epoch is above all that they name; refused while a voter would begin below it', () => {
    const taking = { ...deploy('K'), above: 40 };
    const able = { ...mesh(), nodes: { ...mesh().nodes, K: { ...mesh().nodes.K!, can: [...abilities] } } };
    expect(apply(able, taking).gitlab.epoch).toBe(41);
    expect(apply(able, { ...taking, above: 2 }).gitlab.epoch).toBe(5);
    const before = abilities.filter((one) => one !== 'adopt-data');
    const older = { ...able, nodes: { ...able.nodes, K: { ...able.nodes.K!, can: [...before] } } };
    expect(refusal(older, taking)).toMatch(
      /runs an earlier version, which knows no data of another mesh: upgrade it first/,
    );
    expect(refusal(older, deploy('K'))).toBe('done');
  });

  it('after a recovery by force none is deployed before all have come over: one of them may run another, unheard of', () => {
    const { era, stamp } = mesh();
    const recovered = (unseen: string[]): Ledger => ({
      ...mesh(),
      recovery: { by: 'K', at: 0, from: { era, stamp }, off: [], unseen },
    });
    expect(refusal(recovered(['D']), deploy('K'))).toContain('desktop-1 did not come over');
    // Come over, or forgotten.
    expect(refusal(recovered([]), deploy('K'))).toBe('done');
    expect(refusal(recovered(['E']), deploy('K'))).toBe('done');
    // An epoch that the former era may have used and closed is not used again.
    expect(apply(recovered([]), deploy('K')).gitlab.epoch).toBeGreaterThan(mesh().gitlab.epoch + 100);
  });

  it('is deployed under the next epoch, stands by its host`s word, is drained, ends, and the epoch stays', () => {
    const asked = apply(mesh(), deploy('D'));
    expect(asked.gitlab).toMatchObject({ mode: 'hosted', host: 'D', epoch: 5, url: null, token: null, instance: null });
    expect(asked.gitlab.hosted).toEqual({ ...hosted, since: now + 5, because: 'asked by ann on kang' });
    expect(apply(asked, deploy('D'))).toBe(asked);
    const up = apply(asked, { ...stands, ...of5 });
    expect(up.gitlab).toMatchObject({ url: stands.url, token: stands.token, instance: 'i' });
    expect(apply(up, { ...stands, ...of5 })).toBe(up);
    const ending = apply(up, uninstall({ deleteData: true }));
    expect(leavingOf(ending)).toMatchObject({ now: false, force: false });
    expect(refusal(ending, { kind: 'gitlab-ended', ...of5 })).toContain('not settled yet');
    const gone = apply(drained(ending), { kind: 'gitlab-ended', ...of5 });
    expect(gone.gitlab).toEqual({
      mode: 'none',
      url: null,
      token: null,
      instance: null,
      host: null,
      epoch: 5,
      plannedByALaterVersion: 'kept',
    });
    expect(gone.acts?.at(-1)?.sentence).toBe('GitLab on desktop-1 was uninstalled, with its data');
    expect(apply(gone, { kind: 'gitlab-ended', ...of5 })).toBe(gone);
    expect(apply(gone, deploy('K', { data: 'another1' })).gitlab.epoch).toBe(6);
    expect(Ledger.parse(JSON.parse(JSON.stringify(ending)))).toEqual(ending);
  });

  it('is refused in words where it cannot be, and where a voter or the host is too old to know it', () => {
    const ledger = mesh();
    expect(refusal(apply(ledger, deploy()), deploy('D', { data: 'another1' }))).toBe(
      'this mesh hosts a GitLab already, on kang: autogit-node gitlab uninstall first',
    );
    const connected = apply(ledger, {
      kind: 'connect-gitlab',
      url: 'http://gl',
      token: 't',
      instance: null,
      runnerTokens: [],
    });
    expect(refusal(connected, deploy())).toContain(
      'connected to GitLab at http://gl: autogit-node gitlab disconnect first',
    );
    expect(refusal(connected, uninstall())).toContain('autogit-node gitlab disconnect');
    expect(refusal(ledger, deploy('X'))).toBe('X is no machine of this mesh');
    expect(refusal(apply(ledger, { kind: 'drain', node: 'D', drained: true }), deploy('D'))).toContain(
      'desktop-1 is drained',
    );
    expect(refusal(apply(ledger, { kind: 'depart', node: 'D' }), deploy('D'))).toContain('desktop-1 is away');
    const older = (node: 'K' | 'D'): Ledger => ({
      ...ledger,
      nodes: { ...ledger.nodes, [node]: { ...ledger.nodes[node]!, can: ['envelopes', 'disconnect'] } },
    });
    expect(refusal(older('K'), deploy('D'))).toMatch(/^kang runs an earlier version, .*: upgrade it first$/);
    expect(refusal(older('D'), deploy('D'))).toMatch(/^desktop-1 runs an earlier version/);
    expect(refusal(older('D'), deploy('K'))).toBe('done');
  });

  const certificate = { mark: '0123456789abcdef', box: 'boxed', key: 'for voters' };
  it('for https only where each voter and the host know of it: an earlier version would serve it in the clear', () => {
    const https = { ...deploy('K'), hosted: { ...hosted, https: certificate } };
    expect(refusal(mesh(), https)).toBe('done');
    expect(hostedUrl({ ...hostingOf(apply(mesh(), https) as Ledger)!, port: 443 })).toBe('https://home.local');
    const { K } = mesh().nodes;
    const older = {
      ...mesh(),
      nodes: { ...mesh().nodes, K: { ...K!, can: abilities.filter((one) => one !== 'https') } },
    };
    expect(refusal(older, https)).toMatch(
      /^kang runs an earlier version, which knows GitLab by http only: upgrade it first$/,
    );
    expect(refusal(older, deploy('K'))).toBe('done');
    const anew = { ...https, hosted: { ...https.hosted, data: 'minted-2' } };
    expect(refusal(apply(mesh(), deploy('K')), anew)).toContain('hosts a GitLab already');
  });

  it('by an address of IPv6 only where each voter and the host know of it; who asks for it by another address asks for another', () => {
    const six = { ...deploy('K'), hosted: { ...hosted, ipv6: 'fd00::7' } };
    expect(hostedUrl(hostingOf(apply(mesh(), six) as Ledger)!)).toBe('http://[fd00::7]:8929');
    // Read by an earlier version it has an address that such a one knows.
    expect(Ledger.parse(apply(mesh(), six)).gitlab.hosted?.hostname).toBe('home.local');
    const { K } = mesh().nodes;
    const can = abilities.filter((one) => one !== 'ipv6');
    expect(refusal({ ...mesh(), nodes: { ...mesh().nodes, K: { ...K!, can } } }, six)).toMatch(
      /^kang runs an earlier version, which knows GitLab by no address of IPv6/,
    );
    const asked = apply(mesh(), six) as Ledger;
    const wish = { ...hosted, hostname: null, folder: null, isHttps: false };
    const isIt = (more: object): boolean => isDeployed(asked, 'K', { ...wish, ...more });
    expect([isIt({}), isIt({ ipv6: 'fd00::7' }), isIt({ ipv6: 'fd00::8' })]).toEqual([true, true, false]);
    expect([isIt({ hostname: 'home.local' }), isIt({ isHttps: true })]).toEqual([false, false]);
    for (const ipv6 of ['[fd00::7]', 'fe80::1%eth0', 'FD00::7', '1.2.3.4', ':::::::::'])
      expect(() => ChangeSchema.parse({ ...six, hosted: { ...six.hosted, ipv6 } })).toThrow();
  });

  it('has another certificate when a voter brings one, of https alone; who knew the key of one is told of when it is forgotten', () => {
    const secure = apply(mesh(), { ...deploy('K'), hosted: { ...hosted, https: certificate } }) as Ledger;
    const other = { ...certificate, mark: 'fedcba9876543210', box: 'another' };
    const bring = (https: typeof certificate): Change => ({ kind: 'gitlab-certificate', data: hosted.data, https });
    expect(hostingOf(apply(secure, bring(other)) as Ledger)?.https).toEqual({ ...other, since: now + 5 });
    expect(apply(secure, bring({ ...certificate, key: 'sealed once more' }))).toBe(secure);
    expect(refusal(apply(mesh(), deploy('K')), bring(other))).toContain('served by http');
    expect(refusal(mesh(), bring(other))).toContain('hosts no GitLab of those data');
    expect(whyNot(secure, bring(other), 'X')).toContain('does not vote');
    const forget: Change = { kind: 'forget', node: 'D' };
    const words = (ledger: Ledger): string => doneSentence(forget, ledger, apply(ledger, forget));
    const tells = "knows the key of GitLab's certificate";
    expect(words(secure)).not.toContain(tells);
    // Of a host that is removed while its GitLab is taken down.
    expect(words({ ...secure, gitlab: { ...secure.gitlab, host: 'D', mode: 'none' } })).toContain(tells);
  });

  it('asked for once more by whoever did not hear the answer is done, under the epoch that it has; what differs is another', () => {
    const asked = apply(mesh(), deploy('D'));
    expect(apply(asked, deploy('D', { data: 'minted-2' }))).toBe(asked);
    for (const other of [{ port: 80 }, { image: 'gitlab/gitlab-ce:18' }, { hostname: 'git.lan' }])
      expect(refusal(asked, deploy('D', { data: 'minted-2', ...other }))).toContain('hosts a GitLab already');
    expect(refusal(asked, deploy('K', { data: 'minted-2' }))).toContain('hosts a GitLab already');
    // What is going is not what was asked for, also on the same data.
    const ending = apply(asked, uninstall());
    for (const one of [deploy('D'), deploy('K', { data: 'another1' })])
      for (const ledger of [ending, drained(ending)])
        expect(refusal(ledger, one)).toBe(
          'the GitLab on desktop-1 is being uninstalled, and another one can follow it once it is gone; how far that is: autogit-node gitlab',
        );
  });

  it('takes no word of another data, another epoch, or of a host that is none', () => {
    const asked = apply(mesh(), deploy());
    expect(refusal(asked, { ...stands, epoch: 4 })).toContain('of epoch 5');
    expect(refusal(asked, { ...stands, ...of5, data: 'another1' })).toContain('(another1)');
    expect(refusal(mesh(), { ...stands, epoch: 4 })).toBe('this mesh hosts no GitLab');
    for (const change of [{ ...stands, ...of5 }, { kind: 'gitlab-ended', ...of5 } as const]) {
      expect(whyNot(asked, change, 'D')).toBe("only the host of the mesh's GitLab may say this");
      expect(whyNot(asked, change, 'K')).toBeNull();
    }
  });

  it.each([
    ['data', { data: '../../etc' }],
    ['data', { data: 'A1234567' }],
    ['image', { image: '-v /:/host' }],
    ['place', { place: { kind: 'folder', path: '/srv/../etc' } }],
    ['place', { place: { kind: 'folder', path: 'srv' } }],
    ['place', { place: { kind: 'folder', path: '/srv\n' } }],
    ['hostname', { hostname: "x'; system('id')" }],
    ['port', { port: 0 }],
    ['sshPort', { sshPort: 70_000 }],
  ])('a wrong %s comes through no door: %j', (key, over) => {
    const change = { ...deploy(), hosted: { ...hosted, ...over } };
    const parsed = ChangeSchema.safeParse(change);
    expect(parsed.error?.issues.map(({ path }) => path.slice(0, 2).join('.'))).toEqual([`hosted.${key}`]);
  });

  it('an uninstall that comes late does not end, or delete, the one that was deployed meanwhile', () => {
    const next = apply(mesh(), deploy(), uninstall());
    const gone = apply(drained(next), { kind: 'gitlab-ended', ...of5 });
    // The same data, on the same machine: only the epoch tells them apart.
    const again = apply(gone, deploy('D'));
    expect(again.gitlab.epoch).toBe(6);
    expect(refusal(again, uninstall({ epoch: 5, deleteData: true }))).toBe(
      'the GitLab that was to end is gone, and the mesh hosts another by now, on desktop-1: ask again if that shall end',
    );
    expect(apply(again, uninstall({ epoch: 6 })).gitlab.hosted?.ending).toBeDefined();
    // By an agent of before, and where nothing is left to end.
    expect(apply(again, uninstall()).gitlab.hosted?.ending).toBeDefined();
    expect(apply(gone, uninstall({ epoch: 5 }))).toBe(gone);
  });

  it('uninstalling becomes more urgent only, and what becomes of the data is open until it is drained', () => {
    const up = apply(mesh(), deploy(), { ...stands, ...of5 });
    const ending = apply(up, uninstall({ now: true }));
    expect(apply(ending, uninstall({ now: true }))).toBe(ending);
    expect(apply(ending, uninstall({ deleteData: true, force: true })).gitlab.hosted?.ending).toMatchObject({
      deleteData: true,
      now: true,
      force: true,
      since: now + 5,
    });
    expect(refusal(drained(ending), uninstall({ deleteData: true }))).toContain('was decided');
    expect(apply(mesh(), uninstall()).gitlab.mode).toBe('none');
    // Of a connection that was being disconnected nothing is left in it: a token sealed anew marks no disconnection.
    const resealed = apply(ending, {
      kind: 'reseal',
      token: { was: stands.token, now: 'sealed anew for all', epoch: null },
    });
    expect(resealed.gitlab).not.toHaveProperty('leaving');
    expect(leavingOf(resealed)?.of).toBe(
      leavingOf({ ...ending, gitlab: { ...ending.gitlab, token: 'sealed anew for all' } })?.of,
    );
  });

  it('a host is not forgotten while it serves; forgotten while it is uninstalled, the leader ends it', () => {
    const up = apply(mesh(), deploy('D'));
    expect(refusal(up, { kind: 'forget', node: 'D' })).toContain(
      "desktop-1 hosts the mesh's GitLab: autogit-node gitlab uninstall first",
    );
    const done = drained(apply(up, uninstall()));
    const edit = hostingGone(hosted.data, now);
    expect(edit.apply(done)).toBe(done);
    const removed = apply(done, { kind: 'forget', node: 'D' });
    expect(hostingOf(removed)?.host).toBe('D');
    expect(edit.apply(removed)).toMatchObject({ gitlab: { mode: 'none', host: null, epoch: 5 } });
    expect(hostingGone('another1', now).apply(removed)).toBe(removed);
  });

  it('is not asked of a leader whose version cannot read such a change', () => {
    const sentTo = (can: string[]): string[] => {
      const ledger = mesh();
      const D = { ...ledger.nodes.D!, can };
      const voters = { K: { store: 'store-K', weight: 2 }, D: { store: 'store-D', weight: 3 } };
      const one = new One({ ...ledger, nodes: { ...ledger.nodes, D }, configuration: { voters, next: null } });
      const { stamp } = one.state.raft.accepted;
      one.hear('D', { kind: 'append', term: 1, round: 1, stamp, committed: stamp, ledger: null });
      const requests = [
        { id: 'q', change: deploy('K') },
        { id: 'r', change: { kind: 'pair', until: 0 } as const },
      ];
      one.feed({ kind: 'requested', requests });
      return one.effects.flatMap((effect) =>
        effect.kind === 'send' && effect.message.kind === 'change' ? [effect.message.id] : [],
      );
    };
    expect(sentTo([...abilities])).toEqual(expect.arrayContaining(['q', 'r']));
    expect(sentTo(['disconnect'])).not.toContain('q');
    expect(sentTo(['disconnect'])).toContain('r');
  });
});
