import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { placeProblem } from '../../node/hosting/place-problem.ts';
import { broughtOf, copiesOf, treeOf } from '../../node/hosting/place-tree.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { fitsRound, restoreBeside } from '../../node/hosting/vault/restore-data.ts';
import { type Bringing, heldBy, withRound } from '../../node/hosting/vault/round-bringing.ts';
import { dropFolder } from '../../node/hosting/vault/vault-tree.ts';
import { roundText } from '../../protocol/round-name.ts';
import { cable, data, desktop, inSync, kang, mesh, onOneDisk, place, push, tree, until } from './copies-rig.ts';
import { about } from './vault-rig.ts';

it('a round that the host has no more comes back from the other machine, whole or not at all, and is what a restore begins with', {
  timeout: 90_000,
}, async () => {
  await onOneDisk();
  const at = (path: string): string => join(place.folders.data, path);
  for (const folder of ['postgresql/data', 'gitlab-rails']) mkdirSync(at(folder), { recursive: true });
  writeFileSync(at('postgresql/data/PG_VERSION'), '15');
  writeFileSync(at('gitlab-rails/VERSION'), '19.4.1');
  writeFileSync(join(place.folders.config, 'gitlab-secrets.json'), '{}');
  await inSync();
  const withArtifact = (copies: string, text: string): string[] =>
    readdirSync(join(copies, 'bulk/rounds')).filter((name) => {
      const artifact = join(copies, 'bulk/rounds', name, 'bulk/artifact');
      return existsSync(artifact) && readFileSync(artifact, 'utf8') === text;
    });
  const wrote = async (text: string): Promise<string> => {
    writeFileSync(at('row'), text);
    writeFileSync(join(place.folders.bulk, 'artifact'), text);
    execFileSync('sh', ['-c', `head -c 40000000 /dev/urandom > ${at('large')}`]);
    expect(await push()).toEqual({ isAlone: false });
    const name = roundText(desktop.standby!.newest!.round);
    // Behind the hot one, maybe under a later name.
    await until('its artifacts are over there', () => withArtifact(join(tree(), 'copies'), text).length > 0);
    return name;
  };
  const [first, second] = [await wrote('of the first'), await wrote('of the second')];
  writeFileSync(at('row'), 'now');
  await push();
  // As when the disk was thinned for room: of `first` nothing older is left here, of `second` that is.
  const own = copiesOf(treeOf(place));
  const lose = (part: string, names: readonly string[]): void => {
    for (const name of names) {
      rmSync(join(own, part, 'markers', `${name}.json`));
      execFileSync('btrfs', ['subvolume', 'delete', join(own, part, 'rounds', name, part)], { stdio: 'ignore' });
    }
  };
  lose('hot', [second]);
  lose('bulk', withArtifact(own, 'of the second'));

  const said: string[] = [];
  let onSaid = (_phase: string): void => undefined;
  const now = { ...about, mesh: mesh.ledger.mesh.id, data, epoch: 1 };
  const { signal } = new AbortController();
  const say = (phase: string): void => {
    said.push(phase);
    onSaid(phase);
  };
  const restored = async (id: string, differs: Partial<Bringing> = {}): Promise<string> => {
    const what = {
      ...{ place, restic: null, backup: id, tools: systemTools, signal, say, now },
      url: 'http://a',
      mayLetGo: true,
    };
    const owner = { mesh: mesh.ledger.mesh.id, data };
    const keepers = kang.room.roundKeepers();
    const fits = (version: string | null): void => fitsRound(version, what);
    const bringing = { ...{ id, place, owner, keepers, fits, signal, say }, ...differs };
    const { source } = await withRound(bringing, () => restoreBeside(what));
    const found = ['live/data/row', 'bulk/artifact'].map((path) => readFileSync(join(source, path), 'utf8'));
    await dropFolder(source, systemTools);
    return found.join(', ');
  };
  const untouched = (): void => {
    expect(existsSync(broughtOf(treeOf(place)))).toBe(false);
    expect(readFileSync(at('row'), 'utf8')).toBe('now');
  };

  const [held] = await heldBy(kang.room.roundKeepers(), signal);
  expect(held?.rounds.find(({ name }) => roundText(name) === second)).toMatchObject({ version: '19.4.1' });

  // What goes wrong on the way: a sentence each, nothing left.
  onSaid = (phase) => /^brings round/.test(phase) && cable.away();
  await expect(restored(`round-${second}`)).rejects.toThrow(
    /brought from another one: desktop-1: it did not come whole: it /,
  );
  untouched();
  onSaid = () => undefined;
  cable.isOut = true;
  await expect(restored(`round-${second}`)).rejects.toThrow(/desktop-1: it did not come whole: it is away/);
  cable.isOut = false;
  await expect(restored('round-0-1-99999')).rejects.toThrow(/desktop-1 does not hold it/);
  const foreign = { mesh: mesh.ledger.mesh.id, data: 'data-of-another' };
  await expect(restored(`round-${second}`, { owner: foreign })).rejects.toThrow(
    /desktop-1: these data carry no marker of ours/,
  );
  untouched();
  let calls = 0;
  const makeRoom = async (bytes: number): Promise<void> => {
    if (++calls > 2) throw placeProblem('the disk is full', 'make room there');
    return place.makeRoom(bytes);
  };
  const full = Object.assign(Object.create(place) as DataPlace, { makeRoom });
  await expect(restored(`round-${second}`, { place: full })).rejects.toThrow(/^the disk is full$/);
  untouched();
  // GitLab was upgraded since.
  now.version = '19.5.0';
  writeFileSync(at('gitlab-rails/VERSION'), '19.5.0');
  await expect(restored(`round-${second}`)).rejects.toThrow(/is of GitLab 19.4.1, and 19.5.0 runs here/);
  now.version = '19.4.1';
  writeFileSync(at('gitlab-rails/VERSION'), '19.4.1');

  // As a difference; the other machine hears that it is on this disk, and lets go of it.
  said.length = 0;
  expect(await restored(`round-${second}`)).toBe('of the second, of the second');
  expect(said.join('\n')).toMatch(/brings round-\S+ from desktop-1: \d.*\n.*brings artifacts and packages of/);
  untouched();
  // Whole: nothing here that it could be a difference to.
  const isOld = (name: string): boolean => Number(name.split('-')[2]) <= Number(first.split('-')[2]);
  lose('hot', readdirSync(join(own, 'hot/rounds')).filter(isOld));
  expect(await restored(`round-${first}`)).toBe('of the first, of the first');
  untouched();
});
