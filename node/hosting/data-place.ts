import type { PlaceAt } from './place-choice.ts';
import type { DataOwner } from './place-records.ts';

/** What GitLab's container gets of the machine: these folders and no others. */
export interface DataFolders {
  /** /etc/gitlab */
  config: string;
  /** /var/opt/gitlab; it carries the marker. */
  data: string;
  /** /var/opt/gitlab/gitlab-rails/shared: artifacts, packages, registry. Of no round that a push waits for. */
  bulk: string;
  /** /var/log/gitlab */
  logs: string;
}

/** The data of a hosted GitLab on this machine, open. All throw `data-place` with the fix as hint. */
export interface DataPlace extends PlaceAt {
  readonly folders: DataFolders;
  /** What a person should know of how it was found, such as an image that was not unmounted. */
  readonly notices: readonly string[];
  freeBytes(): number;
  /** Before each start of the container. */
  check(): Promise<void>;
  /** After it, and before the gate opens: the container has these very folders. `pid`: its first process. */
  checkInside(pid: number): void;
  /** Now and then while it runs: takes room ahead of need. What it could not do, as sentences. */
  tend(): Promise<string[]>;
  /** So much shall be free beside what serves; throws where there is no room. */
  makeRoom(bytes: number): Promise<void>;
  /**
   * While `act` runs programs may be run from there, also where only copies lie; a container that begins meanwhile may for ever. One at a
   * time.
   */
  withPrograms<T>(act: () => Promise<T>): Promise<T>;
  /** The agent ends: GitLab goes on. */
  letGo(): Promise<void>;
  /** GitLab has ended: nothing stays mounted. `image`: by which it ran. */
  close(image?: string): Promise<void>;
}

export interface PlaceRoom {
  /** Of an image, at first. */
  bytes: number;
  /** What stays free on the disk for the machine's owner. */
  reserveBytes: number;
}

export interface PlaceWish extends DataOwner {
  /**
   * May make it, finish making it, or take up what an uninstalled GitLab left, by a marker of a later epoch. Null as soon
   * as GitLab stood here in this epoch: what is missing then is missing, and a new one in its place would be an empty GitLab.
   */
  create: PlaceRoom | null;
  /** Also half of one, or of another epoch: other data are about to be put in its place. */
  isUnchecked?: boolean;
  /** `standby`: it holds rounds of what another machine serves, and nothing that could be served. */
  role?: 'host' | 'standby';
}

/** Where the container has them. */
export const insideContainer: Readonly<Record<keyof DataFolders, string>> = {
  config: '/etc/gitlab',
  data: '/var/opt/gitlab',
  bulk: '/var/opt/gitlab/gitlab-rails/shared',
  logs: '/var/log/gitlab',
};
