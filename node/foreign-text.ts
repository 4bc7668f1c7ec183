/**
 * Text that others chose (names of machines and meshes, what they refuse with) as it may meet a terminal: one line, and
 * nothing in it that moves the cursor, colours, or turns the direction of writing.
 */
export const shown = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ');

/** The same for whole sentences of ours, in which only the line breaks are meant. */
export const shownLines = (text: string): string => text.split('\n').map(shown).join('\n');
