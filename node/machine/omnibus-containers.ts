import { join } from 'node:path';
import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { shown } from '../foreign-text.ts';
import { askEngine, canAsk, dockerAddress } from './docker-ask.ts';
import { ContainerId, containersOf, isOmnibus, textIn } from './gitlab-here.ts';

/** A container of GitLab's image that a person runs. */
export interface OmnibusContainer {
  id: string;
  name: string;
  /** As the person named it: with a tag or a digest. */
  image: string;
  isRunning: boolean;
  /** The engine's word: `exited`. */
  status: string;
  /** What it has of this machine: folder in it, and folder here. */
  mounts: readonly { inside: string; outside: string }[];
  /** Where its own gitlab-backup writes, in it. */
  backupPath: string;
  /** Artifacts or the like lie in an object storage somewhere else. */
  hasObjectStorage: boolean;
  /** Its database is one of another container or machine. */
  hasOtherDatabase: boolean;
  /** Folders in it, beside /var/opt/gitlab, that its configuration names for repositories, uploads and the like. */
  dataElsewhere: readonly string[];
}

const Inspected = z.object({
  Id: ContainerId,
  Name: z.string(),
  Config: z.object({ Image: z.string(), Env: z.array(z.string()).nullish() }),
  State: z.object({ Running: z.boolean(), Status: z.string().max(64).optional() }),
  Mounts: z.array(z.object({ Destination: z.string(), Source: z.string().optional() })).nullish(),
});
type Inspected = z.infer<typeof Inspected>;

const most = 8;

/**
 * The omnibus containers of this machine that are nobody's of a mesh: the first of them, and before those whichever `isMeant`.
 * Looks, and changes nothing. Throws `no-docker`.
 */
export async function omnibusContainers(
  dockerHost: string | null,
  isMeant: (one: Pick<OmnibusContainer, 'name' | 'mounts'>) => boolean,
): Promise<OmnibusContainer[]> {
  const address = dockerAddress(dockerHost);
  if (address === null || !canAsk(address))
    throw new AutogitError('no-docker', 'no Docker Engine was found on this machine', {
      hint: 'GitLab of a Linux package is backed up by its own gitlab-backup, and its jobs are taken by: autogit-node gitlab connect URL --token-env VAR',
    });
  try {
    const every = (await containersOf(address)).filter(isOmnibus);
    const meant = every.filter(({ Names, Mounts }) =>
      isMeant({ name: nameOf(Names[0] ?? ''), mounts: mountsOf(Mounts) }),
    );
    const found = [...new Set([...meant, ...every])].slice(0, most);
    const all = await Promise.all(
      // Removed meanwhile: it is none of them any more.
      found.map(({ Id }) => askEngine(address, `/containers/${Id}/json`).catch(() => null)),
    );
    return await Promise.all(
      all.flatMap((one) => {
        const { data } = Inspected.safeParse(one);
        // Of another one its name alone is wanted: that its disk hangs concerns nobody.
        const isAside = meant.length > 0 && !meant.some(({ Id }) => Id === data?.Id);
        return data ? [describe(data, isAside)] : [];
      }),
    );
  } catch (cause) {
    if (cause instanceof AutogitError) throw cause;
    throw new AutogitError('no-docker', `the Docker Engine does not answer: ${sentenceOf(cause)}`, { cause });
  }
}

const nameOf = (said: string): string => shown(said.replace(/^\//, '')).slice(0, 128);

const mountsOf = (said: Inspected['Mounts']): OmnibusContainer['mounts'] =>
  (said ?? []).flatMap(({ Destination, Source }) =>
    Source?.startsWith('/') ? [{ inside: Destination.replace(/(.)\/+$/, '$1'), outside: Source }] : [],
  );

async function describe({ Id, Name, Config, State, Mounts }: Inspected, isAside: boolean): Promise<OmnibusContainer> {
  const mounts = mountsOf(Mounts);
  const configured = Config.Env?.find((line) => line.startsWith('GITLAB_OMNIBUS_CONFIG=')) ?? '';
  const folder = mounts.find(({ inside }) => inside === '/etc/gitlab')?.outside;
  const file = folder === undefined || isAside ? '' : ((await textIn(join(folder, 'gitlab.rb'))) ?? '');
  // It holds passwords too: only these few leave this function. What stands in the file wins.
  const ruby = `${configured.slice('GITLAB_OMNIBUS_CONFIG='.length)}\n${file}`;
  return {
    id: Id,
    name: nameOf(Name),
    image: shown(Config.Image).slice(0, 512),
    isRunning: State.Running,
    status: shown(State.Status ?? 'not running'),
    mounts,
    backupPath: backupPathIn(ruby),
    hasObjectStorage: hasObjectStorageIn(ruby),
    hasOtherDatabase: hasOtherDatabaseIn(ruby),
    dataElsewhere: dataElsewhereIn(ruby),
  };
}

const ownBackups = '/var/opt/gitlab/backups';

/** Statements that count: no comments, several of them on a line. */
const statementsIn = (ruby: string): string[] =>
  ruby.split('\n').flatMap((line) => (/^\s*#/.test(line) ? [] : line.split(';').map((one) => one.trim())));

/** The last that is said of it, where that is an absolute path. */
export function backupPathIn(ruby: string): string {
  const said = statementsIn(ruby).flatMap(
    (one) =>
      /^gitlab_rails\[\s*(['"])backup_path\1\s*\]\s*=\s*(['"])(\/[^'"\n]{1,500})\2/
        .exec(one)?.[3]
        ?.replace(/\/+$/, '') ?? [],
  );
  const last = said.at(-1);
  return last === undefined || /(^|\/)\.\.?(\/|$)/.test(last) ? ownBackups : last;
}

/** Consolidated, or one of its kinds. */
export const hasObjectStorageIn = (ruby: string): boolean =>
  statementsIn(ruby).some(
    (one) =>
      /^gitlab_rails\[\s*['"](object_store|[a-z_]+_object_store_enabled)['"]\s*\](\[\s*['"]enabled['"]\s*\])?\s*=\s*true\b/.test(
        one,
      ) && /enabled/.test(one),
  );

/** The last that is said of it. */
export const hasOtherDatabaseIn = (ruby: string): boolean =>
  statementsIn(ruby)
    .flatMap((one) => /^postgresql\[\s*['"]enable['"]\s*\]\s*=\s*(true|false)\b/.exec(one)?.[1] ?? [])
    .at(-1) === 'false';

const named =
  /^(?:gitlab_rails\[\s*['"](?:shared_path|uploads_(?:directory|storage_path)|(?:artifacts|lfs_storage|packages_storage|pages|terraform_state_storage|registry|dependency_proxy_storage|ci_secure_files_storage|external_diffs_storage)_path)['"]\s*\]|(?:postgresql|redis)\[\s*['"](?:dir|data_dir)['"]\s*\])\s*=\s*(['"])(\/[^'"\n]{1,500})\1/;
/** Of storages of repositories, in the form of git_data_dirs and of gitaly['configuration'], over however many lines. */
const ofStorage = /(?:\bpath:|['"]path['"]\s*=>)\s*(['"])(\/[^'"\n]{1,500})\1/g;

/** Each once. */
export function dataElsewhereIn(ruby: string): string[] {
  const paths = statementsIn(ruby).flatMap((one) => [
    named.exec(one)?.[2] ?? '',
    ...[...one.matchAll(ofStorage)].map(([, , path = '']) => path),
  ]);
  const beside = paths.filter((path) => path !== '' && !/^\/var\/opt\/gitlab(\/|$)/.test(path));
  return [...new Set(beside)].slice(0, 16);
}
