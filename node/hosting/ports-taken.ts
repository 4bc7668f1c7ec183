import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface PortTaken {
  port: number;
  /** Who listens there, as far as it may be seen. */
  by: string;
  /** The process, where it is seen. */
  pid?: number;
}

/** Sockets that listen, of a table of /proc/net: by port the inode that says whose it is. */
export function listenersIn(table: string): { port: number; inode: string }[] {
  return table.split('\n').flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    // 0A: LISTEN.
    if (local === undefined || state !== '0A' || inode === undefined) return [];
    return [{ port: Number.parseInt(local.split(':')[1] ?? '', 16), inode }];
  });
}

const tableOf = (name: string): string => {
  try {
    return readFileSync(`/proc/net/${name}`, 'latin1');
  } catch {
    return ''; // No IPv6 in this kernel.
  }
};

/** Those of these ports on which something of this machine listens, on whatever address: a gate listens on all of them. */
export function portsTaken(ports: readonly number[]): PortTaken[] {
  const all = [...listenersIn(tableOf('tcp')), ...listenersIn(tableOf('tcp6'))];
  return ports.flatMap((port) => {
    const found = all.filter((one) => one.port === port);
    return found.length === 0 ? [] : [{ port, ...ownerOf(new Set(found.map(({ inode }) => inode))) }];
  });
}

function ownerOf(inodes: ReadonlySet<string>): Pick<PortTaken, 'by' | 'pid'> {
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)))
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1];
        if (inode !== undefined && inodes.has(inode))
          return { by: `${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()} (process ${pid})`, pid: Number(pid) };
      }
    } catch {
      // Gone, or another user's.
    }
  return { by: 'a program' };
}

const linkOf = (path: string): string => {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
};
