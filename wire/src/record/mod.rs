//! Record batch format v2: header view, CRC, record walker, builder.
