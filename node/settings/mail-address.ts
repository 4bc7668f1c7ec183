/** One address of mail, without a name beside it, as whoever tells people may write it; no list, and nothing that a header could take for more. */
export const isMailAddress = (text: string): boolean => /^[^\s@<>",;:()[\]\\\p{C}]{1,64}@[\w.-]{1,189}$/u.test(text);
