import { describe, expect, it } from 'vitest';
import {
  chooseWay,
  imageToRestore,
  ownStrategy,
  type ProtectFacts,
  protectLines,
  whereKept,
} from '../../node/hosting/protect/protect-way.ts';
import { containerOf, namedContainer } from '../../node/hosting/protect/protected-container.ts';
import { treeMounts } from '../../node/hosting/protect/snapshot-source.ts';
import {
  backupPathIn,
  dataElsewhereIn,
  hasObjectStorageIn,
  hasOtherDatabaseIn,
  type OmnibusContainer,
} from '../../node/machine/omnibus-containers.ts';

const GiB = 2 ** 30;
const facts: ProtectFacts = {
  container: {
    name: 'gitlab',
    image: 'gitlab/gitlab-ce:17.5.1-ce.0',
    isRunning: true,
    status: 'running',
    hasObjectStorage: false,
    hasOtherDatabase: false,
    dataElsewhere: [],
  },
  config: '/srv/gitlab/config',
  data: '/srv/gitlab/data',
  backups: '/srv/gitlab/data/backups',
  fileSystem: 'btrfs',
  subvolume: '/srv',
  snapshots: '/srv/gitlab/.autogit-protect/snapshot',
  hole: null,
  inner: [],
  isRoot: true,
  hasRestic: true,
  hasBtrfs: true,
  dataBytes: 10 * GiB,
  freeBytes: 100 * GiB,
};

describe('how a GitLab that runs without the mesh is backed up', () => {
  it('snapshots are kept of a subvolume that is its own alone', () => {
    const own = { ...facts, subvolume: facts.data };
    expect(whereKept(own)).toEqual({ folder: '/srv/gitlab/.autogit-protect/snapshot-kept' });
    expect(whereKept({ ...facts, subvolume: '/srv/gitlab' })).toHaveProperty('folder');
    // Of `/srv` they would hold what anybody deletes there; so would the one above, where the configuration is another's.
    expect(whereKept(facts)).toMatchObject({ because: expect.stringMatching(/lies in \/srv, and they would hold/) });
    expect(whereKept({ ...facts, subvolume: '/srv/gitlab', config: '/etc/gitlab' })).toHaveProperty('because');
    expect(whereKept({ ...own, hole: 'x' })).toHaveProperty('because');
    const told = (of: ProtectFacts) => protectLines(of, chooseWay(of)).find(({ what }) => what === 'history');
    expect(told(own)).toMatchObject({ state: 'ok', sentence: expect.stringContaining('each ten minutes') });
    expect(told(facts)).toMatchObject({ state: 'warn', fix: expect.stringContaining('btrfs subvolume create') });
    expect(told({ ...facts, fileSystem: 'ext4' })).toBeUndefined();
  });

  it('by snapshots where all of its data lie on btrfs, else by its own backup, with the reason and the cost', () => {
    expect(chooseWay(facts)).toMatchObject({ way: 'snapshot', because: expect.stringMatching(/one instant/) });
    const own: [Partial<ProtectFacts>, RegExp][] = [
      [{ fileSystem: 'ext4' }, /is on ext4, which has no snapshots/],
      [{ hasBtrfs: false }, /btrfs-progs is not installed/],
      [{ inner: ['/var/opt/gitlab/git-data'] }, /git-data is a mount of its own in its container/],
      [{ hole: 'x is a subvolume of its own within /srv/gitlab/data, and in no snapshot' }, /^x is a subvolume/],
      [{ subvolume: null }, /subvolume that .* lies in is not to be seen/],
      [{ snapshots: null }, /no folder beside/],
      [
        { container: { ...facts.container, dataElsewhere: ['/mnt/nas/git-data'] } },
        /keeps data in \/mnt\/nas\/git-data too/,
      ],
      [{ container: { ...facts.container, hasOtherDatabase: true } }, /its database is not among its data/],
    ];
    for (const [over, why] of own) {
      expect(chooseWay({ ...facts, ...over })).toMatchObject({ way: 'own', because: expect.stringMatching(why) });
      expect(chooseWay({ ...facts, ...over })).toMatchObject({
        because: expect.stringMatching(/leaves out queued work/),
      });
    }
  });

  it('is refused, with what helps, where a backup would be half of one', () => {
    const refused = (over: Partial<ProtectFacts>) => chooseWay({ ...facts, ...over });
    expect(refused({ data: null })).toMatchObject({
      refused: expect.stringMatching(/no folder of this machine at \/var\/opt\/gitlab/),
    });
    expect(refused({ config: null })).toMatchObject({ refused: expect.stringMatching(/at \/etc\/gitlab/) });
    expect(refused({ isRoot: false })).toMatchObject({
      refused: expect.stringMatching(/not root/),
      fix: expect.stringMatching(/sudo/),
    });
    expect(refused({ hasRestic: false })).toMatchObject({
      refused: expect.stringMatching(/restic is not installed/),
      fix: expect.stringMatching(/apt install/),
    });
    expect(refused({ fileSystem: 'xfs', backups: null })).toMatchObject({
      refused: expect.stringMatching(/xfs.*own backups is not on/),
    });
    expect(protectLines({ ...facts, isRoot: false }, refused({ isRoot: false })).at(-1)).toMatchObject({
      state: 'fail',
    });
  });

  it('makes its own backup by copies where there is room for two, in one go where for one, else not', () => {
    expect(ownStrategy(10 * GiB, 22 * GiB)).toEqual({ words: ['STRATEGY=copy'] });
    expect(ownStrategy(10 * GiB, 20 * GiB)).toEqual({ words: [] });
    expect(ownStrategy(10 * GiB, 10 * GiB)).toMatchObject({
      refused: expect.stringMatching(/needs 11 GiB .* 10 GiB are free/),
    });
    const room = (freeBytes: number) => {
      const seen = { ...facts, fileSystem: 'ext4', freeBytes };
      return protectLines(seen, chooseWay(seen)).find(({ what }) => what === 'room');
    };
    expect(room(100 * GiB)).toMatchObject({ state: 'ok' });
    expect(room(15 * GiB)).toMatchObject({ state: 'warn', sentence: expect.stringMatching(/tried again/) });
    expect(room(GiB)).toMatchObject({ state: 'fail' });
    expect(
      protectLines(
        { ...facts, container: { ...facts.container, isRunning: false, status: 'exited' } },
        chooseWay(facts),
      )[0],
    ).toMatchObject({
      state: 'warn',
      sentence: expect.stringMatching(/is exited: no backup is made until it runs/),
    });
    const objects = { ...facts, container: { ...facts.container, hasObjectStorage: true } };
    expect(protectLines(objects, chooseWay(objects)).at(-1)).toMatchObject({ state: 'warn', what: 'objects' });
  });

  it('names the image by its version, as a tag like latest is another one when it is needed', () => {
    expect(imageToRestore('gitlab/gitlab-ce:17.5.1-ce.0', '17.5.1')).toBe('gitlab/gitlab-ce:17.5.1-ce.0');
    expect(imageToRestore('gitlab/gitlab-ce:latest', '17.5.1')).toBe('gitlab/gitlab-ce:17.5.1-ce.0');
    expect(imageToRestore('gitlab/gitlab-ee', '17.5.1-ee')).toBe('gitlab/gitlab-ee:17.5.1-ee.0');
    expect(imageToRestore('sha256:abcdef', null)).toBe('sha256:abcdef');
  });

  it('lies in a backup as a hosted one does: artifacts in bulk, its own backups left out', () => {
    const parts = {
      config: '/srv/gitlab/config',
      data: '/srv/gitlab/data',
      subvolume: '/srv',
      snapshot: '/srv/gitlab/.autogit-protect/snapshot',
      tree: '/home/t',
    };
    const then = '/srv/gitlab/.autogit-protect/snapshot/gitlab';
    expect(treeMounts(parts, () => true)).toEqual([
      [`${then}/config`, '/home/t/live/config'],
      [`${then}/data`, '/home/t/live/data'],
      [`${then}/data/gitlab-rails/shared`, '/home/t/bulk'],
      ['/home/t/empty', '/home/t/live/data/gitlab-rails/shared'],
      ['/home/t/empty', '/home/t/live/data/backups'],
    ]);
    // The data are a subvolume, the configuration lies elsewhere; nothing was uploaded yet.
    expect(treeMounts({ ...parts, subvolume: '/srv/gitlab/data', config: '/etc/g' }, () => false)).toEqual([
      ['/etc/g', '/home/t/live/config'],
      ['/srv/gitlab/.autogit-protect/snapshot', '/home/t/live/data'],
    ]);
  });
});

const container = (over: Partial<OmnibusContainer> = {}): OmnibusContainer => ({
  id: 'a'.repeat(64),
  name: 'gitlab',
  image: 'gitlab/gitlab-ce:17.5.1-ce.0',
  isRunning: true,
  status: 'running',
  mounts: [{ inside: '/var/opt/gitlab', outside: '/srv/gitlab/data' }],
  backupPath: '/var/opt/gitlab/backups',
  hasObjectStorage: false,
  hasOtherDatabase: false,
  dataElsewhere: [],
  ...over,
});

describe('the container of a protected GitLab', () => {
  const known = { container: 'gitlab', folder: '/srv/gitlab/data' };
  it('is found by its data, whatever it is called and whenever it was made anew', () => {
    const anew = container({ id: 'b'.repeat(64), name: 'lab-gitlab-1' });
    const stopped = container({ isRunning: false, status: 'exited' });
    expect(containerOf(known, [stopped, anew])).toEqual({ container: anew });
    expect(containerOf(known, [stopped])).toEqual({ missing: 'container gitlab is exited: docker start gitlab' });
    expect(containerOf(known, [])).toMatchObject({
      missing: expect.stringMatching(/no container has its data in .* any more/),
    });
    const moved = container({ mounts: [{ inside: '/var/opt/gitlab', outside: '/mnt/new' }] });
    expect(containerOf(known, [moved])).toMatchObject({
      missing: expect.stringMatching(/has its data in \/mnt\/new now/),
    });
  });

  it('is the one that is named, or the only one; several are asked about', () => {
    const other = container({ name: 'other' });
    expect(namedContainer(null, [container()])).toMatchObject({ container: { name: 'gitlab' } });
    expect(namedContainer('other', [container(), other])).toMatchObject({ container: { name: 'other' } });
    expect(namedContainer(null, [container(), other])).toMatchObject({
      refused: expect.stringMatching(/several GitLabs run here: gitlab, other/),
    });
    expect(namedContainer('x', [other])).toMatchObject({
      refused: expect.stringMatching(/container x/),
      fix: 'there is: other',
    });
    expect(namedContainer(null, [])).toMatchObject({ refused: expect.stringMatching(/no container of a GitLab/) });
    // One that was stopped beside the one that took its place.
    expect(namedContainer(null, [container({ isRunning: false }), other])).toMatchObject({
      container: { name: 'other' },
    });
  });

  it('says where its own backups go, and whether what it has lies elsewhere', () => {
    expect(backupPathIn('')).toBe('/var/opt/gitlab/backups');
    expect(backupPathIn("# gitlab_rails['backup_path'] = '/x'\ngitlab_rails['backup_path'] = \"/mnt/b/\"; a = 1")).toBe(
      '/mnt/b',
    );
    expect(backupPathIn("gitlab_rails['backup_path'] = '/mnt/../etc'")).toBe('/var/opt/gitlab/backups');
    expect(hasObjectStorageIn("gitlab_rails['object_store']['enabled'] = true")).toBe(true);
    expect(hasObjectStorageIn("gitlab_rails['artifacts_object_store_enabled'] = true")).toBe(true);
    expect(hasObjectStorageIn("# gitlab_rails['object_store']['enabled'] = true")).toBe(false);
    expect(hasObjectStorageIn("gitlab_rails['object_store']['enabled'] = false")).toBe(false);
    expect(hasObjectStorageIn("gitlab_rails['object_store']['proxy_download'] = true")).toBe(false);
    expect(hasOtherDatabaseIn("# postgresql['enable'] = false")).toBe(false);
    expect(hasOtherDatabaseIn("postgresql['enable'] = false\ngitlab_rails['db_host'] = '10.0.0.9'")).toBe(true);
    expect(dataElsewhereIn('git_data_dirs({ "default" => { "path" => "/mnt/nas/git-data" } })')).toEqual([
      '/mnt/nas/git-data',
    ]);
    const gitaly =
      "gitaly['configuration'] = {\n  storage: [\n    { name: 'default', path: '/mnt/repositories' },\n# path: '/x'\n  ],\n}";
    expect(dataElsewhereIn(gitaly)).toEqual(['/mnt/repositories']);
    expect(dataElsewhereIn("gitlab_rails['shared_path'] = '/mnt/s'; postgresql['dir'] = '/mnt/db'")).toEqual([
      '/mnt/s',
      '/mnt/db',
    ]);
    expect(
      dataElsewhereIn(
        "# git_data_dirs({ 'default' => { 'path' => '/x' } })\ngitlab_rails['backup_path'] = '/mnt/b'\ngitlab_rails['shared_path'] = '/var/opt/gitlab/shared'",
      ),
    ).toEqual([]);
  });
});
