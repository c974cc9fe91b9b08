/** The version of this program; package.json's, as a unit test sees to. */
export const VERSION = '0.1.0';
