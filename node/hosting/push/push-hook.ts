import { mkdirSync, rmSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile, systemTools } from '../system-tools.ts';

/*
 * The server hook by which a push waits for its round. It lies outside the data, or every clone of them would carry it, in a
 * folder that GitLab's container has at a place of ours: no upgrade and no restore of GitLab takes it away.
 */

/** In the home of the agent. */
const hooksFolder = (home: string): string => join(home, 'gitlab-hooks');
/** Where GitLab's container has it. */
export const hooksInside = '/opt/autogit-node';
const socketName = 'ask.sock';
/** While it lies there GitLab's queue stands still (omnibus-config.ts): it was booted beside the grace of its host, and may be thrown away. */
const quietName = 'quiet';
export const quietInside = `${hooksInside}/${quietName}`;
export const quietFile = (home: string): string => join(hooksFolder(home), quietName);
/** In its place once GitLab serves, until its queue is worked off. */
export const wakingFile = (home: string): string => join(hooksFolder(home), 'waking');
const hookName = join('post-receive.d', 'autogit-node');

export const hookSocket = (home: string): string => join(hooksFolder(home), socketName);
/** As the machine sees a container's files: whether it has the hook. */
export const hookOf = (root: string): string => join(root, hooksInside, hookName);

/** The hook of this version, in the folder that the container gets. */
export async function putHook(home: string): Promise<string> {
  const folder = hooksFolder(home);
  mkdirSync(join(folder, 'post-receive.d'), { recursive: true, mode: 0o755 });
  const path = join(folder, hookName);
  await replaceFile(path, ownHook, systemTools);
  await chmod(path, 0o755);
  for (const each of [folder, join(folder, 'post-receive.d')]) await chmod(each, 0o755);
  return folder;
}

/** GitLab's container is gone. */
export const dropHook = (home: string): void => rmSync(hooksFolder(home), { recursive: true, force: true });

/**
 * Perl, which every image with git has, and no module of it that is not in its base package. It tells the pusher why it waits, and returns on an answer only:
 * an agent that is killed or restarted meanwhile is asked again, and the gate alone ends a push that waits too long.
 */
export const hookText = (socket: string): string => `#!/usr/bin/perl
# Made by autogit-node at each start of its agent: a push has ended when a copy of it is on another machine.
use strict; use Socket;
$SIG{PIPE} = 'IGNORE';
1 while <STDIN>;
for (;;) {
  my $s;
  if (socket($s, PF_UNIX, SOCK_STREAM, 0) && connect($s, pack_sockaddr_un('${socket}'))) {
    syswrite($s, "round\\nwords\\n");
    while (defined(my $line = <$s>)) {
      if ($line =~ /^wait ([^\\n]{0,300})\\n\\z/) { print STDERR "$1\\n"; next; }
      last unless $line =~ /^(?:ok|alone ([^\\n]{0,300}))\\n\\z/;
      print STDERR "$1\\n" if defined $1;
      exit 0;
    }
  }
  select(undef, undef, undef, 0.2);
}
`;

/** As it stands in the container's folder. */
export const ownHook = hookText(join(hooksInside, socketName));
