import { mkdirSync, rmSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { replaceFile, systemTools } from '../system-tools.ts';

/*
 * The server hooks by which a push waits for its round, and is refused while none is taken. They lie outside the data, or every clone
 * of them would carry them, in a folder that GitLab's container has at a place of ours: no upgrade and no restore of GitLab takes them away.
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
const hookName = 'autogit-node';
/** Why no push is taken, for as long as no agent answers. */
const refusalName = 'no-push';

export const refusalFile = (home: string): string => join(hooksFolder(home), refusalName);
export const hookSocket = (home: string): string => join(hooksFolder(home), socketName);
/** As the machine sees a container's files: where it has which hook. */
export const hooksOf = (root: string): { path: string; text: string }[] =>
  ownHooks.map(({ folder, text }) => ({ path: join(root, hooksInside, folder, hookName), text }));

/** The hooks of this version, in the folder that the container gets. */
export async function putHooks(home: string): Promise<string> {
  const all = hooksFolder(home);
  for (const { folder, text } of ownHooks) {
    const path = join(all, folder, hookName);
    mkdirSync(join(all, folder), { recursive: true, mode: 0o755 });
    await replaceFile(path, text, systemTools);
    for (const each of [all, join(all, folder), path]) await chmod(each, 0o755);
  }
  return all;
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

/**
 * Whether a push is taken at all: before any ref has changed, over ssh too, and for merges and edits in the browser, which show what follows that
 * word of GitLab's. Where nobody answers it goes by what the last agent left there; else it is taken: what comes of it waits all the same.
 */
export const refusingHookText = (socket: string): string => `#!/usr/bin/perl
# Made by autogit-node at each start of its agent: a push is refused where it would be on one of two sides that have to be compared first.
use strict; use Socket;
$SIG{PIPE} = 'IGNORE';
1 while <STDIN>;
my $said = '';
eval {
  local $SIG{ALRM} = sub { die };
  alarm 5;
  my $s;
  if (socket($s, PF_UNIX, SOCK_STREAM, 0) && connect($s, pack_sockaddr_un('${socket}'))) {
    syswrite($s, "push\\n");
    my $line = <$s>;
    $said = $line if defined $line;
  }
  alarm 0;
};
if ($said eq '' && open(my $left, '<', '${join(dirname(socket), refusalName)}')) {
  my $line = <$left>;
  $said = "no $line" if defined $line;
}
exit 0 unless $said =~ /^no ([^\\n]{1,300})\\n\\z/;
print STDERR "GL-HOOK-ERR: $1\\n";
exit 1;
`;

const inside = join(hooksInside, socketName);
/** As they stand in the container's folder, each in the folder that Gitaly has for its time. */
export const ownHooks = [
  { folder: 'pre-receive.d', text: refusingHookText(inside) },
  { folder: 'post-receive.d', text: hookText(inside) },
] as const;
